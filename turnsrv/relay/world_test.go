package relay

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/pion/stun/v3"
)

// world is a Table with a clock, a shell that opens every socket it is asked for,
// and everything that was sent since the last look.
type world struct {
	t      testing.TB
	table  *Table
	now    Now
	batch  Batch
	keys   fakeKeys
	fail   func(*Socket) error // what opening a socket says; nil: it works
	hold   bool                // keep Opens in held instead of carrying them out
	held   []Open
	sent   []Send
	events []Event
	traces []Trace
	closed []*Socket
	opened []*Socket
	totals Totals
}

type fakeKeys map[string]Login

func (k fakeKeys) Lookup(name string, _ int64) Login { return k[name] }
func (k fakeKeys) Username(h [32]byte) (string, bool) {
	for name := range k {
		if userhash(name) == h {
			return name, true
		}
	}
	return "", false
}

const testRealm = "rtc.example.org"

var (
	relayV4  = netip.MustParseAddr("11.22.33.10")
	relayV6  = netip.MustParseAddr("2a11:22:33::10")
	serverV4 = netip.MustParseAddrPort("11.22.33.10:3478")
	peerA    = netip.MustParseAddrPort("11.22.44.1:5000")
	peerA2   = netip.MustParseAddrPort("11.22.44.1:6000")
	peerB    = netip.MustParseAddrPort("11.22.44.2:5000")
	peerV6   = netip.MustParseAddrPort("[2a11:22:44::1]:5000")
)

func newWorld(t testing.TB, change ...func(*Options)) *world {
	w := &world{t: t, now: Now{Mono: time.Hour, Unix: 1_800_000_000}, keys: fakeKeys{}}
	for _, u := range []string{"alice", "bob"} {
		w.keys["1800003600:"+u] = Login{Verdict: Valid, Passwords: []string{"pw-" + u}, User: u}
	}
	w.keys["1700000000:alice"] = Login{Verdict: Expired, Passwords: []string{"pw-alice"}, User: "alice"}
	o := Options{
		Realm: testRealm, Keys: w.keys, NonceKey: []byte("0123456789abcdef"), Rand: rand.NewChaCha8([32]byte{1}),
		Policy: Policy{
			Relays:  []RelayIP{{relayV4, relayV4}, {relayV6, relayV6}},
			MinPort: 50000, MaxPort: 50099, Own: []netip.AddrPort{serverV4},
		},
	}
	for _, f := range change {
		f(&o)
	}
	var err error
	if w.table, err = NewTable(o); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) pass(d time.Duration) {
	w.now.Mono += d
	w.now.Unix += int64(d / time.Second)
	w.tick()
}

func (w *world) tick() {
	w.table.Tick(w.now, &w.batch)
	w.flush()
}

// flush carries the batch out, as the shell would.
func (w *world) flush() {
	for len(w.batch.Opens) > 0 {
		opens := slices.Clone(w.batch.Opens)
		w.batch.Opens = w.batch.Opens[:0]
		if w.hold {
			w.held = append(w.held, opens...)
			break
		}
		for _, o := range opens {
			w.open(o)
		}
	}
	for _, s := range w.batch.Sends {
		s.Head, s.Body = slices.Clone(s.Head), slices.Clone(s.Body)
		w.sent = append(w.sent, s)
	}
	w.events = append(w.events, w.batch.Events...)
	w.traces = append(w.traces, w.batch.Traces...)
	w.closed = append(w.closed, w.batch.Closes...)
	w.totals.Add(&w.batch.Counts)
	w.batch.Reset()
}

func (w *world) open(o Open) {
	var err error
	for _, s := range o.Sockets {
		if s != nil && w.fail != nil && err == nil {
			err = w.fail(s)
		}
	}
	if err == nil {
		for _, s := range o.Sockets {
			if s != nil {
				s.Handle = s
				w.opened = append(w.opened, s)
			}
		}
	}
	w.table.Opened(w.now, o, err, &w.batch)
}

// socket finds the open relay socket of a public address.
func (w *world) socket(a netip.AddrPort) *Socket {
	w.t.Helper()
	for _, s := range w.opened {
		if s.Public == a && !slices.Contains(w.closed, s) {
			return s
		}
	}
	w.t.Fatalf("no relay socket is open at %v", a)
	return nil
}

// take returns what was sent since the last take.
func (w *world) take() []Send {
	out := w.sent
	w.sent = nil
	return out
}

func (w *world) wantSilence(why string) {
	w.t.Helper()
	if s := w.take(); len(s) != 0 {
		w.t.Fatalf("%s: got %d messages, want none; the first: %x %x to %v", why, len(s), s[0].Head, s[0].Body, s[0].To)
	}
}

// caller is a TURN client, written with pion/stun as an independent hand.
type caller struct {
	w                  *world
	client             *Client
	username, password string
	nonce, realm       string
	algorithm          uint16 // 0: say nothing
	useHash, sha2      bool
	unsigned           bool
	relay              netip.AddrPort
}

func (w *world) caller(user, addr string) *caller {
	return &caller{
		w: w, username: "1800003600:" + user, password: "pw-" + user,
		client: &Client{Addr: netip.MustParseAddrPort(addr), Local: serverV4, Via: "listener"},
	}
}

func (w *world) connected(user, addr string, tr Transport) *caller {
	c := w.caller(user, addr)
	c.client = NewConnection(c.client.Addr, serverV4, tr, "connection")
	return c
}

// answer is a decoded response.
type answer struct {
	stun.Message
	t    testing.TB
	code int // 0: success
	size int
}

type attrs []stun.Setter

func raw(t stun.AttrType, v ...byte) stun.Setter { return stun.RawAttribute{Type: t, Value: v} }

func xor(t stun.AttrType, a netip.AddrPort) stun.Setter {
	return setter(func(m *stun.Message) error {
		x := stun.XORMappedAddress{IP: a.Addr().AsSlice(), Port: int(a.Port())}
		return x.AddToAs(m, t)
	})
}

// xor6 writes an address as IPv6 even where it is a mapped one.
func xor6(a netip.Addr) stun.Setter {
	return setter(func(m *stun.Message) error {
		ip := a.As16()
		xorWith(ip[:], m.TransactionID)
		m.Add(stun.AttrXORPeerAddress, append([]byte{0, 2, 0, 1}, ip[:]...))
		return nil
	})
}

type setter func(*stun.Message) error

func (s setter) AddTo(m *stun.Message) error { return s(m) }

var udpTransport = raw(stun.AttrRequestedTransport, 17, 0, 0, 0)

func lifetime(seconds uint32) stun.Setter {
	return raw(stun.AttrLifetime, binary.BigEndian.AppendUint32(nil, seconds)...)
}

func channelNumber(n uint16) stun.Setter {
	return raw(stun.AttrChannelNumber, byte(n>>8), byte(n), 0, 0)
}

// message builds a signed request.
func (c *caller) message(method stun.Method, a attrs) *stun.Message {
	c.w.t.Helper()
	m := new(stun.Message)
	list := attrs{stun.TransactionID, stun.NewType(method, stun.ClassRequest)}
	list = append(list, a...)
	if !c.unsigned && c.nonce != "" {
		list = append(list, c.credentials()...)
	}
	if err := m.Build(list...); err != nil {
		c.w.t.Fatal(err)
	}
	return m
}

func (c *caller) credentials() attrs {
	var list attrs
	if c.useHash {
		h := userhash(c.username)
		list = append(list, raw(stun.AttrUserhash, h[:]...))
	} else {
		list = append(list, stun.NewUsername(c.username))
	}
	list = append(list, stun.NewRealm(c.realm), stun.NewNonce(c.nonce))
	alg := uint16(algMD5)
	if c.algorithm != 0 {
		alg = c.algorithm
		list = append(list, raw(stun.AttrPasswordAlgorithms, passwordAlgorithms...),
			raw(stun.AttrPasswordAlgorithm, 0, byte(alg), 0, 0))
	}
	key := longTermKey(alg, c.username, c.realm, c.password)
	if c.sha2 {
		list = append(list, setter(func(m *stun.Message) error {
			m.WriteHeader()
			m.Add(stun.AttrMessageIntegritySHA256, make([]byte, 32))
			copy(m.Raw[len(m.Raw)-32:], hmac256(key, m.Raw[:len(m.Raw)-36]))
			return nil
		}))
	} else {
		list = append(list, stun.MessageIntegrity(key))
	}
	return append(list, stun.Fingerprint)
}

// send hands one message in and flushes.
func (c *caller) send(b []byte) {
	c.w.table.HandleClient(c.w.now, c.client, b, 0, &c.w.batch)
	c.w.flush()
}

// exchange sends a request and returns its one answer.
func (c *caller) exchange(m *stun.Message) *answer {
	c.w.t.Helper()
	c.w.take()
	c.send(m.Raw)
	sent := c.w.take()
	if len(sent) != 1 {
		c.w.t.Fatalf("%v: %d answers, want 1", m.Type, len(sent))
	}
	return c.decode(m, sent[0])
}

func (c *caller) decode(m *stun.Message, s Send) *answer {
	c.w.t.Helper()
	a := &answer{t: c.w.t, size: len(s.Head)}
	if s.To != c.client.Addr || s.Via != c.client.Via || s.From != c.client.Local.Addr() {
		c.w.t.Fatalf("answer goes to %v by %v from %v", s.To, s.Via, s.From)
	}
	if _, err := a.Write(s.Head); err != nil {
		c.w.t.Fatalf("answer does not decode: %v\n%x", err, s.Head)
	}
	if a.TransactionID != m.TransactionID || a.Type.Method != m.Type.Method {
		c.w.t.Fatalf("answer %v to %v", a, m)
	}
	if err := stun.Fingerprint.Check(&a.Message); err != nil {
		c.w.t.Fatalf("answer: %v", err)
	}
	var ec stun.ErrorCodeAttribute
	if a.Type.Class == stun.ClassErrorResponse {
		if err := ec.GetFrom(&a.Message); err != nil || string(ec.Reason) != rfcPhrases[int(ec.Code)] {
			c.w.t.Fatalf("error answer %d with the phrase %q (%v), want %q", ec.Code, ec.Reason, err, rfcPhrases[int(ec.Code)])
		}
		a.code = int(ec.Code)
	}
	return a
}

// rfcPhrases are those that RFC 8489 section 14.8 and RFC 8656 section 19 recommend.
var rfcPhrases = map[int]string{
	300: "Try Alternate", 400: "Bad Request", 401: "Unauthenticated", 403: "Forbidden", 420: "Unknown Attribute",
	437: "Allocation Mismatch", 438: "Stale Nonce", 440: "Address Family not Supported", 441: "Wrong Credentials",
	442: "Unsupported Transport Protocol", 443: "Peer Address Family Mismatch", 486: "Allocation Quota Reached",
	500: "Server Error", 508: "Insufficient Capacity",
}

// request authenticates when it must, and returns the final answer.
func (c *caller) request(method stun.Method, a ...stun.Setter) *answer {
	c.w.t.Helper()
	for try := 0; ; try++ {
		got := c.exchange(c.message(method, a))
		challenged := got.code == 438 || got.code == 401 && c.nonce == ""
		if !challenged || try == 2 {
			return got
		}
		c.learn(got)
	}
}

func (c *caller) learn(got *answer) {
	c.w.t.Helper()
	var nonce stun.Nonce
	var realm stun.Realm
	if err := nonce.GetFrom(&got.Message); err != nil {
		c.w.t.Fatalf("%d without nonce", got.code)
	}
	if err := realm.GetFrom(&got.Message); err != nil {
		c.w.t.Fatalf("%d without realm", got.code)
	}
	c.nonce, c.realm = nonce.String(), realm.String()
}

func (c *caller) allocate(a ...stun.Setter) *answer {
	c.w.t.Helper()
	got := c.request(stun.MethodAllocate, append(attrs{udpTransport}, a...)...)
	if got.code == 0 {
		c.relay = got.address(stun.AttrXORRelayedAddress)
	}
	return got
}

func (c *caller) mustAllocate(a ...stun.Setter) *answer {
	c.w.t.Helper()
	return c.allocate(a...).want(0)
}

func (c *caller) permit(peers ...netip.AddrPort) *answer {
	c.w.t.Helper()
	var a attrs
	for _, p := range peers {
		a = append(a, xor(stun.AttrXORPeerAddress, p))
	}
	return c.request(stun.MethodCreatePermission, a...)
}

func (c *caller) bind(n uint16, peer netip.AddrPort) *answer {
	c.w.t.Helper()
	return c.request(stun.MethodChannelBind, channelNumber(n), xor(stun.AttrXORPeerAddress, peer))
}

func (c *caller) refresh(a ...stun.Setter) *answer {
	c.w.t.Helper()
	return c.request(stun.MethodRefresh, a...)
}

func (c *caller) channelData(n uint16, data string) {
	msg := binary.BigEndian.AppendUint16(nil, n)
	msg = binary.BigEndian.AppendUint16(msg, uint16(len(data)))
	c.send(append(msg, data...))
}

func (c *caller) sendIndication(peer netip.AddrPort, data string, more ...stun.Setter) {
	m := new(stun.Message)
	list := append(attrs{
		stun.TransactionID, stun.NewType(stun.MethodSend, stun.ClassIndication),
		xor(stun.AttrXORPeerAddress, peer), raw(stun.AttrData, []byte(data)...),
	}, more...)
	if err := m.Build(list...); err != nil {
		c.w.t.Fatal(err)
	}
	c.send(m.Raw)
}

// fromPeer lets a datagram arrive at the caller's relayed address.
func (c *caller) fromPeer(peer netip.AddrPort, data string) {
	c.w.t.Helper()
	c.w.table.HandlePeer(c.w.now, c.w.socket(c.relay), peer, []byte(data), 0, &c.w.batch)
	c.w.flush()
}

// wantToPeer checks that exactly one datagram left for a peer.
func (c *caller) wantToPeer(peer netip.AddrPort, data string) {
	c.w.t.Helper()
	sent := c.w.take()
	if len(sent) != 1 || sent[0].To != peer || string(sent[0].Body) != data || len(sent[0].Head) != 0 {
		c.w.t.Fatalf("want %q to %v, got %d messages %+v", data, peer, len(sent), sent)
	}
	if sent[0].Via != c.w.socket(c.relay) {
		c.w.t.Fatalf("left by %v, want the socket of %v", sent[0].Via, c.relay)
	}
}

// wantChannel checks that exactly one ChannelData message came.
func (c *caller) wantChannel(n uint16, data string) {
	c.w.t.Helper()
	sent := c.w.take()
	if len(sent) != 1 {
		c.w.t.Fatalf("want ChannelData %q, got %d messages", data, len(sent))
	}
	want := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, n), uint16(len(data)))
	if s := sent[0]; s.To != c.client.Addr || string(s.Head) != string(want) || string(s.Body) != data {
		c.w.t.Fatalf("want ChannelData %x %q, got %x %q to %v", n, data, s.Head, s.Body, s.To)
	}
}

// wantData checks that exactly one Data indication came.
func (c *caller) wantData(peer netip.AddrPort, data string) {
	c.w.t.Helper()
	sent := c.w.take()
	if len(sent) != 1 {
		c.w.t.Fatalf("want Data %q, got %d messages", data, len(sent))
	}
	s := sent[0]
	m := stun.Message{Raw: append(append(slices.Clone(s.Head), s.Body...), make([]byte, s.Pad)...)}
	if err := m.Decode(); err != nil || m.Type != stun.NewType(stun.MethodData, stun.ClassIndication) {
		c.w.t.Fatalf("want a Data indication, got %v %v", m, err)
	}
	got := address(c.w.t, &m, stun.AttrXORPeerAddress)
	body, _ := m.Get(stun.AttrData)
	if got != peer || string(body) != data || s.To != c.client.Addr {
		c.w.t.Fatalf("want %q from %v, got %q from %v to %v", data, peer, body, got, s.To)
	}
}

func (a *answer) want(code int) *answer {
	a.t.Helper()
	if a.code != code {
		a.t.Fatalf("%v: got code %d, want %d", a.Type, a.code, code)
	}
	return a
}

// wantSigned checks MESSAGE-INTEGRITY with the caller's key.
func (a *answer) wantSigned(c *caller) *answer {
	a.t.Helper()
	key := stun.NewLongTermIntegrity(c.username, testRealm, c.password)
	if err := key.Check(&a.Message); err != nil {
		a.t.Fatalf("%v (code %d): MESSAGE-INTEGRITY: %v", a.Type, a.code, err)
	}
	return a
}

func (a *answer) address(t stun.AttrType) netip.AddrPort {
	a.t.Helper()
	return address(a.t, &a.Message, t)
}

func address(t testing.TB, m *stun.Message, typ stun.AttrType) netip.AddrPort {
	t.Helper()
	var x stun.XORMappedAddress
	if err := x.GetFromAs(m, typ); err != nil {
		t.Fatalf("%v: %v", typ, err)
	}
	ip, _ := netip.AddrFromSlice(x.IP)
	return netip.AddrPortFrom(ip.Unmap(), uint16(x.Port))
}

func (a *answer) lifetime() uint32 {
	a.t.Helper()
	v, err := a.Get(stun.AttrLifetime)
	if err != nil || len(v) != 4 {
		a.t.Fatalf("no LIFETIME in %v", a.Type)
	}
	return binary.BigEndian.Uint32(v)
}

func (w *world) lastEvent() string {
	w.t.Helper()
	if len(w.events) == 0 {
		return "none"
	}
	e := w.events[len(w.events)-1]
	return fmt.Sprintf("%v %s %s", e.Kind, e.Info.User, e.Reason)
}
