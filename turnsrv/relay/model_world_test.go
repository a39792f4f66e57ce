package relay_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"time"

	"rtcd/turnsrv/relay"
)

// violation is what a run panics with when server and model differ.
type violation string

// sequence is one run: a server, its shell in memory, its clients, and the model.
type sequence struct {
	m      model
	table  *relay.Table
	batch  relay.Batch
	policy relay.Policy
	rand   *rand.ChaCha8
	users  []*user
	slots  [6]*slot
	sent   []recorded // requests, to be sent again
	tokens [][8]byte
	few    []int // the two clients that do everything, where not all do something
	step   int
	live   int // allocated less closed, by the events
	shell  shell
	story  *strings.Builder // what happened, for people; nil: nobody asks
}

// slot is a client program: it keeps its address when it connects anew.
type slot struct {
	*endpoint
	transport relay.Transport
	client    *relay.Client // of the connection; nil for UDP
	home      *user
	nonces    []string // that the server gave to this address
}

type recorded struct {
	raw []byte
	req *request
}

// shell is the sockets of the machine.
type shell struct {
	open    map[netip.AddrPort]*relay.Socket // by local address
	closed  map[netip.AddrPort]time.Duration
	failed  map[netip.AddrPort]time.Duration
	claimed map[netip.AddrPort]bool // of an Open that is held
	mode    byte
	held    []opening
}

// opening is an Allocate request whose sockets are being opened.
type opening struct {
	open    relay.Open
	request *request
	lease   *lease
	codes   *codes
}

// What opening a socket does.
const (
	works = iota
	noDescriptors
	evenTaken
	oddTaken
	waits
)

const portRest = 120 * time.Second

var errNoDescriptors = errors.New("too many open files")

func (s *sequence) note(format string, args ...any) {
	if s.story != nil {
		fmt.Fprintf(s.story, "\n  %6d s  ", s.m.now/time.Second)
		fmt.Fprintf(s.story, format, args...)
	}
}

func (s *sequence) fail(format string, args ...any) {
	panic(violation(fmt.Sprintf(format, args...)))
}

// Lookup implements relay.Keys.
func (s *sequence) Lookup(name string, unix int64) relay.Login {
	for _, u := range s.users {
		if u.name != name {
			continue
		}
		v := relay.Valid
		switch {
		case u.revoked:
			v = relay.Revoked
		case unix >= u.expires:
			v = relay.Expired
		}
		return relay.Login{Verdict: v, Passwords: []string{"former-" + u.password, u.password}, User: u.quota, RelayOnly: u.relayOnly, MaxBytes: int64(u.maxBytes)}
	}
	return relay.Login{}
}

// Username implements relay.Keys.
func (s *sequence) Username(h [32]byte) (string, bool) {
	for _, u := range s.users {
		if sha256.Sum256([]byte(u.name+":"+realm)) == h {
			return u.name, true
		}
	}
	return "", false
}

const realm = "rtc.example.org"

// newSequence makes the world that the first two bytes choose.
func newSequence(kind, sizes byte, story *strings.Builder) *sequence {
	s := &sequence{story: story, rand: rand.NewChaCha8([32]byte{kind, sizes})}
	s.m = model{
		now: time.Hour, unix: 1_800_000_000, leases: map[*endpoint]*lease{}, nonces: map[string]issued{},
		reserved: map[[8]byte]*reservation{}, pace: map[netip.Addr]pace{},
		rules: rules{
			relays: [2]bool{true, kind&1 != 0}, limited: kind&2 != 0, strictExpiry: kind&4 != 0,
			local:   [2]netip.Addr{netip.MustParseAddr("11.22.33.10"), netip.MustParseAddr("2a11:22:33::10")},
			perUser: 2 + int(sizes>>3&1), perIP: 3, total: 5, permissions: 2 + int(sizes>>1&3), channels: 2 + int(sizes>>4&1),
		},
	}
	r := &s.m.rules
	r.public = r.local
	if kind&8 != 0 { // behind a NAT of the provider's
		r.local[0] = netip.MustParseAddr("10.9.9.9")
	}
	s.shell = shell{
		open: map[netip.AddrPort]*relay.Socket{}, closed: map[netip.AddrPort]time.Duration{},
		failed: map[netip.AddrPort]time.Duration{}, claimed: map[netip.AddrPort]bool{},
	}
	s.users = []*user{
		{name: "1800003600:alice", password: "a", quota: "alice", expires: 1_800_003_600},
		{name: "1800086400:bob", password: "b", quota: "bob", expires: 1_800_086_400},
		{name: "1800086400:carol", password: "c", quota: "carol", expires: 1_800_086_400, relayOnly: true, maxBytes: 220},
		{name: "1800086400:alice", password: "d", quota: "alice", expires: 1_800_086_400},
	}
	s.addClients()
	if kind&16 != 0 {
		s.few = [][]int{{0, 2}, {0, 1}, {3, 5}, {2, 4}, {0, 3}, {1, 5}, {4, 0}, {0, 0}}[kind>>5]
	}
	s.policy = relay.Policy{
		MinPort: 50000, MaxPort: 50000 + []uint16{7, 3, 8, 15}[sizes>>5&3],
		Own: []netip.AddrPort{netip.MustParseAddrPort("11.22.33.10:3478")},
		Limits: relay.Limits{
			AllocationsPerUser: r.perUser, AllocationsPerIP: r.perIP, Allocations: r.total,
			Permissions: r.permissions, Channels: r.channels, Bandwidth: -1,
		},
	}
	if !r.limited {
		s.unlimitedAnswers()
	}
	for f := range r.relays {
		if r.relays[f] {
			s.policy.Relays = append(s.policy.Relays, relay.RelayIP{Local: r.local[f], Public: r.public[f]})
		}
	}
	var err error
	s.table, err = relay.NewTable(relay.Options{
		Realm: realm, Keys: s, NonceKey: []byte("0123456789abcdef"), Rand: s.rand, Policy: s.policy,
	})
	if err != nil {
		s.fail("%v", err)
	}
	return s
}

func (s *sequence) unlimitedAnswers() {
	l := &s.policy.Limits
	l.Unauthenticated, l.Binding, l.FailedLogins = relay.Rate{N: -1}, relay.Rate{N: -1}, relay.Rate{N: -1}
	s.m.rules.limited = false
}

func (s *sequence) addClients() {
	for i, c := range []struct {
		addr, local string
		transport   relay.Transport
	}{
		{"11.22.33.101:1000", "11.22.33.10:3478", relay.UDP},
		{"11.22.33.101:1000", "11.22.33.10:3478", relay.TCP},
		{"11.22.33.101:1001", "11.22.33.10:3478", relay.UDP},
		{"11.22.33.102:2000", "11.22.33.10:5349", relay.TLS},
		{"[2a11:22:33::102]:2000", "[2a11:22:33::10]:3478", relay.UDP},
		{"11.22.33.103:3000", "11.22.33.10:5349", relay.DTLS},
	} {
		s.slots[i] = s.newSlot(c.addr, c.local, c.transport, s.users[[6]int{0, 0, 1, 2, 1, 3}[i]])
	}
}

func (s *sequence) newSlot(addr, local string, tr relay.Transport, home *user) *slot {
	c := &slot{transport: tr, home: home}
	c.endpoint = &endpoint{
		addr: netip.MustParseAddrPort(addr), local: netip.MustParseAddrPort(local),
		stream: tr.Stream(), udp: tr == relay.UDP,
	}
	c.connect()
	return c
}

// connect begins a new connection from the same address; for UDP there is none.
func (c *slot) connect() {
	if c.transport != relay.UDP {
		c.endpoint = &endpoint{addr: c.addr, local: c.local, stream: c.stream}
		c.client = relay.NewConnection(c.addr, c.local, c.transport, c.endpoint)
	}
}

// fromClient hands one read of a client to the server and returns what came out.
// Both the input and the scratch Client are spoiled afterwards, as a shell's are.
func (s *sequence) fromClient(c *slot, msg []byte, seg int, p *opening) []relay.Send {
	client := c.client
	if client == nil {
		client = &relay.Client{Addr: c.addr, Local: c.local, Via: c.endpoint}
		defer func() { *client = relay.Client{} }()
	}
	in := bytes.Clone(msg)
	s.table.HandleClient(s.clock(), client, in, seg, &s.batch)
	out := s.flush(p)
	for i := range in {
		in[i] = 0xEE
	}
	return out
}

func (s *sequence) clock() relay.Now { return relay.Now{Mono: s.m.now, Unix: s.m.unix} }

// flush carries a batch out and returns copies of what is to be sent. p is the
// Allocate that may open sockets; nil: none may.
func (s *sequence) flush(p *opening) []relay.Send {
	b := &s.batch
	for len(b.Opens) > 0 {
		opens := slices.Clone(b.Opens)
		b.Opens = b.Opens[:0]
		for _, o := range opens {
			if p == nil {
				s.fail("a socket is opened for nobody")
			}
			next := *p
			next.open = o
			s.judgeOpen(&next)
			if s.shell.mode == waits {
				s.shell.held = append(s.shell.held, next)
				continue
			}
			s.carryOut(&next)
		}
	}
	var out []relay.Send
	for _, send := range b.Sends {
		send.Body = slices.Concat(send.Head, send.Body, make([]byte, send.Pad))
		send.Head = nil
		out = append(out, send)
	}
	for _, closed := range b.Closes {
		if s.shell.open[closed.Local] != closed {
			s.fail("%v is closed, but not open", closed.Local)
		}
		delete(s.shell.open, closed.Local)
		s.shell.closed[closed.Local] = s.m.now
	}
	for _, e := range b.Events {
		switch e.Kind {
		case relay.Allocated:
			s.live++
		case relay.Closed:
			s.live--
		}
	}
	b.Reset()
	return out
}

// judgeOpen: the port is one of the range, nobody has it, and it has rested.
func (s *sequence) judgeOpen(p *opening) {
	even, pair := p.request.get(aEvenPort)
	pair = pair && even[0]&0x80 != 0
	if (p.open.Sockets[1] != nil) != pair {
		s.fail("a pair is opened: %v, wanted: %v", !pair, pair)
	}
	for i, sock := range p.open.Sockets {
		if sock == nil {
			continue
		}
		f, port := family(sock.Local.Addr()), sock.Local.Port()
		closed, was := s.shell.closed[sock.Local]
		switch {
		case !s.m.rules.relays[f] || sock.Local.Addr() != s.m.rules.local[f] || sock.Public.Addr() != s.m.rules.public[f]:
			s.fail("%v is no relay address", sock.Local)
		case port < s.policy.MinPort || port > s.policy.MaxPort:
			s.fail("port %d is out of the range", port)
		case s.shell.open[sock.Local] != nil || s.shell.claimed[sock.Local]:
			s.fail("port %d is shared", port)
		case was && s.m.now-closed < portRest:
			s.fail("port %d has rested for %v only", port, s.m.now-closed)
		case even != nil && int(port)%2 != i:
			s.fail("EVEN-PORT got %d", port)
		}
		s.shell.claimed[sock.Local] = true
	}
}

// carryOut opens the sockets of an Open, or fails to, and tells the server.
func (s *sequence) carryOut(p *opening) {
	var err error
	for _, sock := range p.open.Sockets {
		if sock == nil {
			continue
		}
		delete(s.shell.claimed, sock.Local)
		odd := sock.Local.Port()%2 == 1
		switch {
		case s.shell.mode == noDescriptors:
			err = errNoDescriptors
		case s.shell.mode == evenTaken && !odd, s.shell.mode == oddTaken && odd:
			err = fmt.Errorf("%v: %w", sock.Local, relay.ErrPortTaken)
		}
	}
	for _, sock := range p.open.Sockets {
		switch {
		case sock == nil:
		case err != nil:
			s.shell.failed[sock.Local] = s.m.now
		default:
			sock.Handle = sock
			s.shell.open[sock.Local] = sock
		}
	}
	s.table.Opened(s.clock(), p.open, err, &s.batch)
}

// scarce says that there may be no port for what a request wants: it counts those
// that must be had.
func (s *sequence) scarce(r *request, f int) bool {
	if s.shell.mode == noDescriptors {
		return true
	}
	even, wanted := r.get(aEvenPort)
	pair := wanted && len(even) == 1 && even[0]&0x80 != 0
	free := func(port uint16) bool {
		at := netip.AddrPortFrom(s.m.rules.local[f], port)
		closed, was := s.shell.closed[at]
		failed, had := s.shell.failed[at]
		return port <= s.policy.MaxPort && s.shell.open[at] == nil && !s.shell.claimed[at] &&
			!(was && s.m.now-closed < portRest) && !(had && s.m.now-failed < portRest) &&
			!(s.shell.mode == evenTaken && port%2 == 0) && !(s.shell.mode == oddTaken && port%2 == 1)
	}
	for port := s.policy.MinPort; port <= s.policy.MaxPort; port++ {
		if free(port) && (!wanted || port%2 == 0) && (!pair || free(port+1)) {
			return false
		}
	}
	return true
}

// want compares what came out with what must.
func (s *sequence) want(expected []output, got []relay.Send) {
	if len(got) != len(expected) {
		s.fail("%d messages came out, want %d: %s", len(got), len(expected), describe(got))
	}
	for i, o := range expected {
		if !s.matches(&o, &got[i]) {
			s.fail("want %+v, came %s", o, describe(got[i:i+1]))
		}
	}
}

func describe(list []relay.Send) string {
	var b strings.Builder
	for _, g := range list {
		fmt.Fprintf(&b, "%.60x to %v; ", g.Body, g.To)
	}
	return b.String()
}

func (s *sequence) matches(o *output, g *relay.Send) bool {
	if o.client == nil {
		sock, ok := g.Via.(*relay.Socket)
		return ok && sock.Public == o.relay && s.shell.open[sock.Local] == sock &&
			g.To == o.to && string(g.Body) == o.data && g.DontFragment == o.intact
	}
	if !toClient(o.client, g) {
		return false
	}
	if o.channel != 0 {
		msg := append(append(u16(int(o.channel)), u16(len(o.data))...), o.data...)
		for o.client.stream && len(msg)%4 != 0 {
			msg = append(msg, 0)
		}
		return bytes.Equal(g.Body, msg)
	}
	r, err := decode(g.Body, nil)
	if err != nil || r.typ != dataIndication {
		return false
	}
	data, has := r.get(aData)
	icmp, _ := r.get(aICMP)
	if o.channel == 0 && o.data == icmpData {
		return !has && binary.BigEndian.Uint16(append(icmp, 0, 0, 0, 0)[2:]) == 3<<9|1 && slices.Equal(r.addresses(aPeer), []netip.AddrPort{o.from})
	}
	return has && string(data) == o.data && icmp == nil && slices.Equal(r.addresses(aPeer), []netip.AddrPort{o.from})
}

// icmpData stands for an ICMP error in an output.
const icmpData = "ICMP port unreachable"

func toClient(c *endpoint, g *relay.Send) bool {
	return g.Via == c && g.To == c.addr && g.From == c.local.Addr()
}
