package relay_test

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"time"
)

// model is RFC 8656 as this server promises it, in the fewest words: what a request
// may be answered with, and where data may come out. It is written from the RFC and
// the design, it never looks into the core, and where they leave a choice it allows
// each. It learns what the server chose (ports, nonces, tokens) from the answers.
type model struct {
	now      time.Duration
	unix     int64
	rules    rules
	leases   map[*endpoint]*lease
	stale    []*lease // expired; until the clock has been looked at they may still count
	nonces   map[string]issued
	reserved map[[8]byte]*reservation
	pace     map[netip.Addr]pace
}

// rules are the limits of one world.
type rules struct {
	relays                        [2]bool // which families have a relay address
	local, public                 [2]netip.Addr
	perUser, perIP, total         int
	permissions, channels         int
	limited, strictExpiry, drains bool
	banned                        netip.Addr // denied by a later policy
}

// endpoint is one client 5-tuple.
type endpoint struct {
	addr, local netip.AddrPort
	stream, udp bool
}

// user is one TURN username.
type user struct {
	name, password, quota string
	expires               int64
	maxBytes              int // per allocation, both ways; 0: no end
	relayOnly, revoked    bool
}

// lease is an allocation, or an Allocate request that waits for its sockets.
type lease struct {
	at       *endpoint
	owner    *user
	id       [12]byte
	relays   [2]netip.AddrPort // public
	pending  bool
	icmp     bool // asked for DONT-FRAGMENT, and so is told of ICMP errors
	relayed  int  // bytes
	created  time.Duration
	expires  time.Duration
	permits  map[netip.Addr]time.Duration
	channels map[uint16]binding600
}

// binding600 is a channel binding: ten minutes, unless it is refreshed.
type binding600 struct {
	peer  netip.AddrPort
	until time.Duration
}

type issued struct {
	to netip.AddrPort
	at int64
}

type reservation struct {
	owner *user
	relay netip.AddrPort
	until time.Duration
}

// request is what the model is told of a request: who says that he is who, and the
// attributes before the integrity.
type request struct {
	from     *endpoint
	typ      uint16
	id       [12]byte
	attrs    []attr
	signed   bool
	user     *user // whose name it carries; nil: nobody's
	right    bool  // realm and password are the user's, and the bytes are as they were signed
	announce int   // PASSWORD-ALGORITHMS: see the builder
	sha2     bool  // signed with MESSAGE-INTEGRITY-SHA256
}

func (r *request) get(typ uint16) ([]byte, bool) {
	for i := range r.attrs {
		if r.attrs[i].typ == typ {
			return r.attrs[i].value, true // the first one counts
		}
	}
	return nil, false
}

func (r *request) has(typ uint16) bool { _, ok := r.get(typ); return ok }

func (r *request) peers() (out []attr) {
	for _, a := range r.attrs {
		if a.typ == aPeer {
			out = append(out, a)
		}
	}
	return out
}

// codes are the answers that a request may have. Each fault that must be told adds
// its codes; where there are several faults, any of them may be told. Without such a
// fault it is success, or what may stand against it.
type codes struct{ faults, perhaps []int }

const silence = -1 // no answer at all

func (c *codes) fault(is bool, list ...int) {
	if is {
		c.faults = append(c.faults, list...)
	}
}

func (c *codes) maybe(is bool, list ...int) {
	if is {
		c.perhaps = append(c.perhaps, list...)
	}
}

func (c *codes) allow(code int) bool {
	return code == 0 && len(c.faults) == 0 || slices.Contains(c.faults, code) || slices.Contains(c.perhaps, code)
}

// lease returns the live or pending allocation of a 5-tuple.
func (m *model) lease(at *endpoint) *lease {
	if l := m.leases[at]; l != nil && (l.pending || l.expires > m.now) {
		return l
	}
	return nil
}

// sweep moves what has expired to stale, and forgets it when the server's clock ran;
// then what waits for its sockets for 30 s waits no longer.
func (m *model) sweep(ticked bool) {
	for at, l := range m.leases {
		if ticked && l.pending && m.now-l.created >= 30*time.Second {
			delete(m.leases, at)
		}
		if !l.pending && l.expires <= m.now {
			delete(m.leases, at)
			m.stale = append(m.stale, l)
		}
	}
	if ticked {
		m.stale = nil
	}
}

// expect returns the answers that a request may have. authentic says that they must
// be signed with the user's key.
func (m *model) expect(r *request) (c codes, authentic bool) {
	c.maybe(m.rules.limited, silence)
	if r.typ == binding {
		c.fault(r.has(aStrange), 420)
		return c, false
	}
	if m.login(r, &c); len(c.faults) > 0 {
		return c, false
	}
	c = codes{}
	c.fault(r.has(aStrange), 420)
	l := m.lease(r.from)
	if r.typ == allocate {
		m.allocateFaults(r, l, &c)
		return c, true
	}
	c.fault(l == nil || l.pending, 437)
	c.fault(l != nil && l.owner != r.user, 441)
	if l != nil && !l.pending {
		m.controlFaults(r, l, &c)
	}
	return c, true
}

// login is the long-term credential mechanism, RFC 8489 section 9.2.4.
func (m *model) login(r *request, c *codes) {
	if !r.signed {
		c.fault(true, 401)
		return
	}
	nonce, hasNonce := r.get(aNonce)
	if !hasNonce || !r.has(aRealm) || r.has(aUsername) == r.has(aUserhash) {
		c.fault(true, 400)
		return
	}
	n, ours := m.nonces[string(nonce)]
	c.fault(!ours, 400, 401, 438) // whatever is in it: no
	c.fault(r.announce >= tampered, 400)
	c.fault(ours && (n.to != r.from.addr || m.unix-n.at > 600), 438)
	c.fault(r.user == nil || !r.right || !m.admitted(r), 401)
}

// admitted says whether the credentials are good at this time: an expired one keeps
// what it has, unless the expiry is strict, and a revoked one nothing.
func (m *model) admitted(r *request) bool {
	if r.user.revoked {
		return false
	}
	l := m.lease(r.from)
	owner := l != nil && l.owner == r.user && (l.pending || !m.rules.strictExpiry && m.now-l.created < 24*time.Hour)
	return owner || m.unix < r.user.expires
}

// allocateFaults is RFC 8656 section 7.2.
func (m *model) allocateFaults(r *request, l *lease, c *codes) {
	if l != nil {
		again := l.id == r.id && l.owner == r.user
		c.fault(!again, 437)
		c.fault(again && l.pending, silence)
		return
	}
	transport, ok := r.get(aTransport)
	c.fault(!ok || len(transport) != 4, 400)
	c.fault(len(transport) == 4 && transport[0] != 17, 442)
	lifetime, ok := r.get(aLifetime)
	c.fault(ok && len(lifetime) != 4, 400)
	even, pair := r.get(aEvenPort)
	c.fault(pair && len(even) != 1, 400)
	pair = pair && len(even) == 1 && even[0]&0x80 != 0
	family, one := r.get(aFamily)
	more, both := r.get(aAdditional)
	c.fault(one && (len(family) != 4 || family[0] != 1 && family[0] != 2), 440, 400)
	c.fault(both && (len(more) != 4 || more[0] != 2), 400)
	c.fault(one && both || both && pair, 400)
	c.fault(one && len(family) == 4 && family[0] == 2 && !m.rules.relays[1], 440)
	if token, ok := r.get(aToken); ok {
		c.fault(len(token) != 8 || r.has(aEvenPort) || one || both, 400)
		c.fault(m.reservation(r.user, token) == nil, 508)
	}
	c.fault(m.rules.drains, 508)
	m.quota(r, c)
}

func (m *model) reservation(who *user, token []byte) *reservation {
	if len(token) == 8 {
		if v := m.reserved[[8]byte(token)]; v != nil && v.owner == who && v.until > m.now {
			return v
		}
	}
	return nil
}

// quota: 486 when it is reached; what has expired unseen may count still.
func (m *model) quota(r *request, c *codes) {
	over := func(more []*lease) bool {
		var all, users, hosts int
		count := func(l *lease) {
			all++
			if l.owner.quota == r.user.quota {
				users++
			}
			if l.at.addr.Addr() == r.from.addr.Addr() {
				hosts++
			}
		}
		for _, l := range m.leases {
			count(l)
		}
		for _, l := range more {
			count(l)
		}
		return all >= m.rules.total || users >= m.rules.perUser || hosts >= m.rules.perIP
	}
	c.fault(over(nil), 486)
	c.maybe(over(m.stale), 486)
	// A token that reserves nothing is found out only behind the quotas; a drain in front.
	judged := func(code int) bool { return code != 486 && (code != 508 || m.rules.drains) }
	if !slices.ContainsFunc(c.faults, judged) {
		c.maybe(m.fast(r.from.addr.Addr()), 486)
	}
}

// fast counts an Allocate and says whether its address makes them faster than it
// may: its quota of new ones in ten seconds, with bursts of twice that.
func (m *model) fast(host netip.Addr) bool {
	b := m.pace[host]
	quota := float64(m.rules.perIP)
	b.level = max(0, b.level-quota*(m.now-b.at).Seconds()/10) + 1
	b.at = m.now
	m.pace[host] = b
	return b.level > 2*quota-1
}

// pace is a bucket that runs empty with time.
type pace struct {
	level float64
	at    time.Duration
}

// controlFaults is RFC 8656 sections 8.2 (Refresh), 10.2 (CreatePermission) and
// 12.2 (ChannelBind).
func (m *model) controlFaults(r *request, l *lease, c *codes) {
	switch r.typ {
	case refresh:
		lifetime, ok := r.get(aLifetime)
		c.fault(ok && len(lifetime) != 4, 400)
		if f, ok := r.get(aFamily); ok {
			c.fault(len(f) != 4 || f[0] != 1 && f[0] != 2 || !l.relays[f[0]-1].IsValid(), 443)
		}
	case createPermission:
		c.fault(!r.has(aPeer), 400)
		for _, a := range r.peers() {
			m.peerFaults(l, a, c)
		}
		m.permissionFaults(l, r.peers(), c)
	case channelBind:
		v, ok := r.get(aChannel)
		c.fault(!ok || len(v) != 4 || !r.has(aPeer), 400)
		if len(c.faults) > 0 {
			return
		}
		number, first := binary.BigEndian.Uint16(v), r.peers()[:1]
		c.fault(number < 0x4000 || number > 0x7FFF, 400)
		m.peerFaults(l, first[0], c)
		c.maybe(m.hairpin(first[0].peer.Addr()) && m.relayAt(first[0].peer) == nil, 403)
		c.fault(first[0].peer.Port() == 0, 400, 403)
		taken := 0
		for n, ch := range l.channels {
			if ch.until <= m.now {
				continue
			}
			taken++
			c.fault((n == number) != (ch.peer == first[0].peer), 400)
		}
		c.fault(l.channels[number].until <= m.now && taken >= m.rules.channels, 508)
		m.permissionFaults(l, first, c)
	}
}

// peerFaults judges one XOR-PEER-ADDRESS. An IPv4-mapped one is IPv6 to the
// protocol, and never a way to an IPv4 host.
func (m *model) peerFaults(l *lease, a attr, c *codes) {
	if !a.peer.IsValid() {
		c.fault(true, 400)
		return
	}
	addr := a.peer.Addr()
	c.fault(!l.relays[family(addr)].IsValid(), 443)
	c.fault(addr.Is4In6(), 400, 403)
	if m.hairpin(addr) {
		return // decided by the port, packet by packet
	}
	c.fault(m.denied(addr) || l.owner.relayOnly, 403)
}

// permissionFaults: 508 when there would be more than the limit. Those that only a
// live channel still holds may count.
func (m *model) permissionFaults(l *lease, peers []attr, c *codes) {
	live, held := map[netip.Addr]bool{}, map[netip.Addr]bool{}
	for addr, until := range l.permits {
		if until > m.now {
			live[addr], held[addr] = true, true
		}
	}
	for _, ch := range l.channels {
		if ch.until > m.now {
			held[ch.peer.Addr()] = true
		}
	}
	for _, a := range peers {
		if a.peer.IsValid() {
			live[a.peer.Addr()], held[a.peer.Addr()] = true, true
		}
	}
	c.fault(len(live) > m.rules.permissions, 508)
	c.maybe(len(held) > m.rules.permissions, 508)
}

func family(a netip.Addr) int {
	if a.Is4() {
		return 0
	}
	return 1
}

// hairpin: at our relays' own addresses there may be a relayed address.
func (m *model) hairpin(a netip.Addr) bool {
	f := family(a)
	return m.rules.relays[f] && (a == m.rules.local[f] || a == m.rules.public[f])
}

// relayAt returns the live allocation whose relayed address this is, by its public
// or its local address.
func (m *model) relayAt(p netip.AddrPort) *lease {
	f := family(p.Addr())
	if p.Addr() == m.rules.local[f] {
		p = netip.AddrPortFrom(m.rules.public[f], p.Port())
	}
	for _, l := range m.leases {
		if !l.pending && l.expires > m.now && l.relays[f].IsValid() && l.relays[f] == p {
			return l
		}
	}
	return nil
}

// denied is the design's list, as far as the peers of this world go.
func (m *model) denied(a netip.Addr) bool {
	for _, no := range []string{
		"10.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "192.168.0.0/16", "::/96", "64:ff9b::/96", "2002::/16", "fc00::/7",
	} {
		if netip.MustParsePrefix(no).Contains(a) {
			return true
		}
	}
	return a == m.rules.banned
}

// reachable says whether packets of an allocation may go to and come from a peer.
func (m *model) reachable(l *lease, peer netip.AddrPort) bool {
	if m.relayAt(peer) != nil {
		return true
	}
	return !m.hairpin(peer.Addr()) && !l.owner.relayOnly && !m.denied(peer.Addr())
}

// take counts n bytes of data, unless the credential's are used up.
func (l *lease) take(n int) bool {
	if l.owner.maxBytes > 0 && l.relayed+n > l.owner.maxBytes {
		return false
	}
	l.relayed += n
	return true
}

func (l *lease) permitted(m *model, a netip.Addr) bool { return l.permits[a] > m.now }

// output is one datagram or message that must come out.
type output struct {
	client  *endpoint      // to this client, as
	channel uint16         // ChannelData, or, when 0,
	from    netip.AddrPort // as Data indication
	relay   netip.AddrPort // or out of this relayed address
	to      netip.AddrPort // to this peer
	data    string
	intact  bool // do not fragment
}

// toPeer says what comes of data that an allocation sends (RFC 8656 section 11.2).
func (m *model) toPeer(l *lease, peer netip.AddrPort, data string, intact bool) []output {
	f := family(peer.Addr())
	if !l.relays[f].IsValid() || !l.permitted(m, peer.Addr()) || !m.reachable(l, peer) || !l.take(len(data)) {
		return nil
	}
	if other := m.relayAt(peer); other != nil {
		return m.fromPeer(other, l.relays[f], data)
	}
	return []output{{relay: l.relays[f], to: peer, data: data, intact: intact}}
}

// fromChannel is ChannelData of a client (section 12.6).
func (m *model) fromChannel(l *lease, number uint16, data string) []output {
	c := l.channels[number]
	if c.until <= m.now {
		return nil
	}
	return m.toPeer(l, c.peer, data, false)
}

// fromPeer is a datagram at a relayed address (sections 11.3 and 12.7).
func (m *model) fromPeer(l *lease, peer netip.AddrPort, data string) []output {
	if !l.permitted(m, peer.Addr()) || !m.reachable(l, peer) || !l.take(len(data)) {
		return nil
	}
	for n, c := range l.channels {
		if c.peer == peer && c.until > m.now {
			return []output{{client: l.at, channel: n, data: data}}
		}
	}
	return []output{{client: l.at, from: peer, data: data}}
}

// succeeded takes in what a successful request did.
func (m *model) succeeded(r *request) {
	l := m.lease(r.from)
	switch r.typ {
	case refresh:
		v, given := r.get(aLifetime)
		f, one := r.get(aFamily)
		switch {
		case !given || binary.BigEndian.Uint32(v) != 0:
			l.expires = m.now + granted(r)
		case one && l.relays[2-f[0]].IsValid():
			l.relays[f[0]-1] = netip.AddrPort{}
		default:
			delete(m.leases, r.from)
		}
	case createPermission, channelBind:
		peers := r.peers()
		if r.typ == channelBind {
			v, _ := r.get(aChannel)
			peers = peers[:1]
			l.channels[binary.BigEndian.Uint16(v)] = binding600{peers[0].peer, m.now + 600*time.Second}
		}
		for _, a := range peers {
			l.permits[a.peer.Addr()] = m.now + 300*time.Second
		}
	}
}

// granted is the lifetime that a request gets: what it asks for, within 600 to 3,600 s.
func granted(r *request) time.Duration {
	v, ok := r.get(aLifetime)
	if !ok {
		return 600 * time.Second
	}
	return time.Duration(min(max(binary.BigEndian.Uint32(v), 600), 3600)) * time.Second
}
