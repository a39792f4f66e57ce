package relay_test

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
	"time"

	"rtcd/turnsrv/relay"
)

// tail is what an attacker on the path adds behind MESSAGE-INTEGRITY: none of it
// may be obeyed (RFC 8489 section 14.5).
func (s *sequence) tail(a step) []attr {
	p := s.peer(a[7])
	return [][]attr{
		{{typ: aLifetime, value: u32(0)}},
		{{typ: aLifetime, value: u32(3600)}, {typ: aFamily, value: []byte{2, 0, 0, 0}}},
		{peerAttr(aPeer, p, [12]byte{}), {typ: aChannel, value: []byte{0x40, 0, 0, 0}}},
		{{typ: aTransport, value: []byte{17, 0, 0, 0}}, {typ: aEvenPort, value: []byte{0x80}}},
		{{typ: aStrange, value: nil}, {typ: aUsername, value: []byte("1800086400:bob")}},
	}[a[6]%5]
}

// lifetimes are LIFETIME attributes by a byte: half of them none.
func lifetimes(b byte) []attr {
	values := [][]byte{u32(0), u32(1), u32(601), u32(1200), u32(3600), u32(5000), u32(0xFFFFFFFF), {1, 2}}
	if b%16 < 8 {
		return nil
	}
	out := []attr{{typ: aLifetime, value: values[b%8]}}
	if b >= 240 {
		out = append(out, attr{typ: aLifetime, value: u32(0)}) // the second one does not count
	}
	return out
}

func (s *sequence) allocate(a step) {
	var attrs []attr
	switch a[4] % 32 {
	case 0:
	case 1:
		attrs = append(attrs, attr{typ: aTransport, value: []byte{6, 0, 0, 0}})
	case 2:
		attrs = append(attrs, attr{typ: aTransport, value: []byte{17}})
	default:
		attrs = append(attrs, attr{typ: aTransport, value: []byte{17, 0, 0, 0}})
	}
	attrs = append(attrs, lifetimes(a[5])...)
	if n := a[6] % 8; n >= 1 && n <= 3 {
		attrs = append(attrs, attr{typ: aEvenPort, value: [][]byte{{0}, {0x80}, {0x80, 0}}[n-1]})
	}
	switch n := a[6] / 8 % 16; n {
	case 1, 2, 3:
		attrs = append(attrs, attr{typ: aFamily, value: []byte{n, 0, 0, 0}})
	case 4, 5, 6:
		attrs = append(attrs, attr{typ: aAdditional, value: []byte{2, 0, 0, 0}})
	case 7:
		attrs = append(attrs, attr{typ: aAdditional, value: []byte{1, 0, 0, 0}})
	case 8:
		attrs = append(attrs, attr{typ: aAdditional, value: []byte{2, 0, 0, 0}}, attr{typ: aFamily, value: []byte{2, 0, 0, 0}})
	}
	switch n := a[7] % 16; {
	case n < 4 && len(s.tokens) > 0:
		attrs = append(attrs, attr{typ: aToken, value: bytes.Clone(s.tokens[len(s.tokens)-1][:])})
	case n == 4:
		attrs = append(attrs, attr{typ: aToken, value: make([]byte, 8)})
	case n == 5 && a[7] >= 128:
		attrs = append(attrs, attr{typ: aToken, value: make([]byte, 4)})
	}
	if a[6]&0x80 != 0 {
		attrs = append(attrs, attr{typ: aDontFragment})
	}
	s.request(a, allocate, attrs, s.tail(a))
}

func (s *sequence) refresh(a step) {
	attrs := lifetimes(a[4])
	if n := a[5] % 16; n >= 1 && n <= 3 {
		attrs = append(attrs, attr{typ: aFamily, value: []byte{n, 0, 0, 0}})
	}
	s.request(a, refresh, attrs, s.tail(a))
}

func (s *sequence) createPermission(a step) {
	n := []int{1, 1, 1, 1, 1, 2, 3, 0}[a[4]%8]
	attrs := s.peerAttrs(a, a[5], a[6], a[7])[:n]
	if n > 0 && a[4]/8 == 31 {
		attrs[n-1].value, attrs[n-1].peer = attrs[n-1].value[:3], netip.AddrPort{}
	}
	s.request(a, createPermission, attrs, s.tail(a))
}

func (s *sequence) peerAttrs(a step, choices ...byte) (out []attr) {
	id := s.peekID(a)
	for _, b := range choices {
		out = append(out, peerAttr(aPeer, s.peer(b), id))
	}
	return out
}

func channelNumber(b byte) int {
	return []int{0x4000, 0x4001, 0x4000, 0x4001, 0x4000, 0x4001, 0x4000, 0x4000, 0x4002, 0x7FFF, 0x3FFF, 0x8000}[b%12]
}

func (s *sequence) channelBind(a step) {
	var attrs []attr
	if a[4] < 248 {
		attrs = append(attrs, attr{typ: aChannel, value: append(u16(channelNumber(a[4])), 0, 0)})
	}
	if a[6] >= 8 {
		attrs = append(attrs, s.peerAttrs(a, a[5])...)
	}
	s.request(a, channelBind, attrs, s.tail(a))
}

func (s *sequence) binding(a step) {
	s.request(step{0, a[1] % 8, 208 + noIntegrity + 8, a[3]}, binding, nil, nil)
}

// text is application data of some length that says who sent it.
func (s *sequence) text(b byte) string {
	n := []int{0, 1, 3, 4, 5, 100}[b%6]
	return strings.Repeat(string(rune('a'+s.step%26)), n)
}

func (s *sequence) send(a step) {
	c := s.slot(a)
	var id [12]byte
	s.rand.Read(id[:])
	peer, data := s.peer(a[5]), s.text(a[4])
	var attrs []attr
	if a[6]%32 != 1 {
		attrs = append(attrs, peerAttr(aPeer, peer, id))
	}
	if a[6]%32 != 2 {
		attrs = append(attrs, attr{typ: aData, value: []byte(data)})
	}
	if a[6]&0x80 != 0 {
		attrs = append(attrs, attr{typ: aDontFragment})
	}
	if a[6]%32 == 3 {
		attrs = append(attrs, attr{typ: aStrange})
	}
	raw := appendAttrs(header(sendIndication, id), attrs)
	if a[7]&1 != 0 {
		raw = appendCRC(raw)
	}
	s.note("%v %v Send %q to %v %d", c.transport, c.addr, data, peer, a[6]%32)
	got := s.fromClient(c, withLength(raw, len(raw)), 0, nil)
	if peer.Port() == 0 {
		return // nobody can be there: sent or not, it is the same
	}
	var want []output
	l := s.m.lease(c.endpoint)
	if bad := a[6] % 32; l != nil && !l.pending && (bad < 1 || bad > 3) {
		want = s.m.toPeer(l, peer, data, a[6]&0x80 != 0)
	}
	s.want(want, got)
}

func (s *sequence) channelData(a step) {
	c, number, data := s.slot(a), channelNumber(a[4]), s.text(a[5])
	msg := append(append(u16(number), u16(len(data))...), data...)
	n := 1 // messages that are whole
	s.note("%v %v channel %x %q, %d", c.transport, c.addr, number, data, a[6]%16)
	seg := 0
	switch {
	case a[6]%16 == 1: // it says that it is longer than it is
		binary.BigEndian.PutUint16(msg[2:], uint16(len(data)+1+int(a[7])*256))
		n = 0
	case a[6]%16 == 2:
		msg, n = msg[:3], 0
	case c.stream:
		for len(msg)%4 != 0 {
			msg = append(msg, 0)
		}
	case a[6]%16 < 8: // two come in one read
		seg, n = len(msg), 2
		msg = append(msg, msg...)
	}
	var want []output
	if l := s.m.lease(c.endpoint); l != nil && !l.pending {
		for range n {
			want = append(want, s.m.fromChannel(l, uint16(number), data)...)
		}
	}
	s.want(want, s.fromClient(c, msg, seg, nil))
}

// relaySocket is the open socket of a client's allocation.
func (s *sequence) relaySocket(l *lease, f int) *relay.Socket {
	if l == nil || l.pending || !l.relays[f].IsValid() {
		return nil
	}
	sock := s.shell.open[netip.AddrPortFrom(s.m.rules.local[f], l.relays[f].Port())]
	if sock == nil {
		s.fail("the socket of %v is not open", l.relays[f])
	}
	return sock
}

// peerSends lets up to three datagrams of a peer arrive at once, at the relayed
// address of an allocation or at one that is only reserved.
func (s *sequence) peerSends(a step) {
	peer, data := s.peer(a[5]), s.text(a[4])
	f := family(peer.Addr())
	l := s.m.lease(s.slot(a).endpoint)
	if a[7] >= 240 {
		l = nil
		for _, v := range s.m.reserved {
			if sock := s.shell.open[netip.AddrPortFrom(s.m.rules.local[0], v.relay.Port())]; sock != nil && v.until > s.m.now && f == 0 {
				s.note("%v sends to the reserved %v", peer, v.relay)
				s.table.HandlePeer(s.clock(), sock, peer, []byte(data), 0, &s.batch)
				s.want(nil, s.flush(nil))
			}
		}
	}
	sock := s.relaySocket(l, f)
	if sock == nil || peer.Addr().Is4In6() {
		return
	}
	s.note("%v sends %q to %v", peer, data, sock.Public)
	n := 1
	if len(data) > 0 {
		n += int(a[6] % 3)
	}
	last := data[:len(data)/2]
	in := []byte(strings.Repeat(data, n))
	var want []output
	for range n {
		want = append(want, s.m.fromPeer(l, peer, data)...)
	}
	if a[6]&0x80 != 0 && last != "" {
		in = append(in, last...)
		want = append(want, s.m.fromPeer(l, peer, last)...)
	}
	s.table.HandlePeer(s.clock(), sock, peer, in, len(data), &s.batch)
	got := s.flush(nil)
	for i := range in {
		in[i] = 0xEE
	}
	s.want(want, got)
}

// icmp lets an ICMP error come back from the way to a peer (RFC 8656 section 11.5).
func (s *sequence) icmp(a step) {
	peer := s.peer(a[5])
	l := s.m.lease(s.slot(a).endpoint)
	sock := s.relaySocket(l, family(peer.Addr()))
	if sock == nil || peer.Addr().Is4In6() {
		return
	}
	e := relay.ICMP{Type: 3, Code: 1}
	var want []output
	if l.icmp && l.permitted(&s.m, peer.Addr()) {
		want = []output{{client: l.at, from: peer, data: icmpData}}
	}
	if a[6]%4 == 0 { // an echo reply, and the like: not told
		e, want = relay.ICMP{Type: 0}, nil
	}
	s.note("ICMP %d from %v to %v", e.Type, peer, sock.Public)
	s.table.HandleICMP(s.clock(), sock, peer, e, &s.batch)
	s.want(want, s.flush(nil))
}

// pass lets time go by, mostly with the server's clock running.
func (s *sequence) pass(a step) {
	d := []int64{1, 5, 29, 31, 119, 121, 150, 299, 301, 310, 599, 601, 3601}[a[1]%13]
	s.m.now += time.Duration(d) * time.Second
	s.m.unix += d
	s.note("%d s pass, tick %v", d, a[2]%4 != 0)
	s.m.sweep(a[2]%4 != 0)
	if a[2]%4 != 0 {
		s.tick()
	}
}

// tick runs the server's clock; then exactly the sockets of what lives are open.
func (s *sequence) tick() {
	s.table.Tick(s.clock(), &s.batch)
	s.want(nil, s.flush(nil))
	n := 0
	for _, l := range s.m.leases {
		if l.pending {
			return
		}
		for _, a := range l.relays {
			if a.IsValid() {
				n++
			}
		}
	}
	for token, v := range s.m.reserved {
		if v.until <= s.m.now {
			delete(s.m.reserved, token)
			continue
		}
		n++
	}
	if len(s.shell.held) == 0 && len(s.shell.open) != n {
		s.fail("%d sockets are open, want %d", len(s.shell.open), n)
	}
}

// again sends an earlier request once more, from where it came or from elsewhere.
func (s *sequence) again(a step) {
	if len(s.sent) == 0 {
		return
	}
	rec := s.sent[int(a[2])%len(s.sent)]
	if a[3]%2 == 0 {
		rec = s.sent[len(s.sent)-1]
	}
	c := s.slot(a)
	for _, own := range s.slots {
		if a[4]%2 == 0 && own.endpoint == rec.req.from {
			c = own
		}
	}
	r := *rec.req
	r.from = c.endpoint
	s.note("%v %v sends %x again", c.transport, c.addr, r.id)
	s.exchange(c, recorded{rec.raw, &r})
}

// garbage is what must not be answered at all.
func (s *sequence) garbage(a step) {
	msg := append(header(allocate, [12]byte(append(a[:], 1, 2, 3, 4))), a[:]...)
	switch a[2] % 6 {
	case 0:
		msg[4] ^= 0x40 // RFC 3489
	case 1:
		msg = withLength(msg, len(msg)+4)
	case 2:
		msg = withLength(append(msg, 0), len(msg)+1)
	case 3:
		msg[0] |= 0x80
	case 4:
		msg = msg[:a[3]%20]
	case 5:
		msg = appendCRC(header(binding, [12]byte(msg[8:])))
		msg[[]byte{8, 13, 19, 24, 25, 26, 27}[a[3]%7]] ^= 1 << (a[4] % 8) // the ID or the sum
	}
	s.note("garbage %d", a[2]%6)
	s.want(nil, s.fromClient(s.slot(a), msg, 0, nil))
}

// flipBit changes one bit of a good request, with or without a new fingerprint: the
// answer is a refusal or silence.
func (s *sequence) flipBit(a step) {
	a[2], a[3], a[7] = a[2]%208, a[3]&15, a[7]&0x7F
	typ := []uint16{allocate, refresh, createPermission, channelBind}[a[4]%4]
	id := s.peekID(a)
	attrs := map[uint16][]attr{
		allocate:         {{typ: aTransport, value: []byte{17, 0, 0, 0}}},
		createPermission: {peerAttr(aPeer, peers[0], id)},
		channelBind:      {peerAttr(aPeer, peers[0], id), {typ: aChannel, value: []byte{0x40, 0, 0, 0}}},
	}[typ]
	c, rec := s.build(a, typ, attrs, nil)
	raw := rec.raw[:len(rec.raw)-8] // without the fingerprint
	at := 2 + (int(a[5])<<8|int(a[6]))%(8*len(raw)-2)
	raw[at/8] ^= 0x80 >> (at % 8)
	if a[4]&0x80 == 0 || at/8 == 2 || at/8 == 3 {
		raw = rec.raw
	} else {
		raw = appendCRC(raw)
	}
	s.note("bit %d flipped", at)
	got := s.fromClient(c, raw, 0, nil)
	if len(got) == 0 {
		return
	}
	resp, err := decode(got[0].Body, nil)
	code := resp.code()
	turned := binary.BigEndian.Uint16(raw) == binding // Allocate is a bit from Binding
	if len(got) > 1 || err != nil || !toClient(c.endpoint, &got[0]) ||
		!turned && code != 400 && code != 401 && code != 438 {
		s.fail("a changed message is answered: %d %s", code, describe(got))
	}
	if code == 401 || code == 438 {
		s.learn(c, &resp)
	}
}

// disconnect ends a client's connection; a new one comes from the same address.
func (s *sequence) disconnect(a step) {
	c := s.slot(a)
	if c.client == nil {
		return
	}
	s.note("%v %v disconnects", c.transport, c.addr)
	s.table.ClientGone(s.clock(), c.client, &s.batch)
	s.want(nil, s.flush(nil))
	delete(s.m.leases, c.endpoint)
	s.m.stale = slices.DeleteFunc(s.m.stale, func(l *lease) bool { return l.at == c.endpoint })
	c.connect()
}

// sockets changes what opening one does.
func (s *sequence) sockets(a step) {
	s.shell.mode = []byte{works, works, works, noDescriptors, evenTaken, oddTaken, waits, waits}[a[1]%8]
	s.note("sockets: mode %d", s.shell.mode)
}

// opened carries out a held Open.
func (s *sequence) opened(a step) {
	held := s.shell.held
	if len(held) == 0 {
		return
	}
	i := int(a[1]) % len(held)
	p := held[i]
	s.shell.held = slices.Delete(slices.Clone(held), i, i+1)
	r := p.request
	alive := s.m.leases[r.from] == p.lease
	s.note("the socket %v of %v is opened", p.open.Sockets[0].Local, r.from.addr)
	if alive {
		for _, f := range wantedFamilies(r) {
			p.codes.maybe(s.m.rules.relays[f] && s.scarce(r, f), 508)
		}
	}
	before := len(s.shell.held)
	s.carryOut(&p)
	if !alive {
		s.want(nil, s.flush(nil))
		return
	}
	got := s.flush(&p)
	if len(s.shell.held) > before {
		s.want(nil, got)
		return
	}
	for _, c := range s.slots {
		if c.endpoint == r.from {
			s.answered(c, &p, true, got)
		}
	}
}

// setPolicy denies a peer, admits it again, or begins and ends a drain.
func (s *sequence) setPolicy(a step) {
	if a[1]%4 == 0 {
		s.m.rules.drains = !s.m.rules.drains
		s.policy.Draining = s.m.rules.drains
	} else if s.m.rules.banned.IsValid() {
		s.m.rules.banned, s.policy.Deny = netip.Addr{}, nil
	} else {
		s.m.rules.banned = peers[a[2]%9].Addr()
		s.policy.Deny = append(relay.RecommendedDeny(), netip.PrefixFrom(s.m.rules.banned, s.m.rules.banned.BitLen()))
	}
	s.note("policy: drains %v, denies %v", s.m.rules.drains, s.m.rules.banned)
	s.table.SetPolicy(s.policy)
}

// kill ends what a user has, and sometimes revokes it.
func (s *sequence) kill(a step) {
	quota := []string{"alice", "bob", "carol"}[a[1]%3]
	n := 0
	for at, l := range s.m.leases {
		if l.owner.quota == quota {
			delete(s.m.leases, at)
			n++
		}
	}
	late := len(s.m.stale)
	s.m.stale = slices.DeleteFunc(s.m.stale, func(l *lease) bool { return l.owner.quota == quota })
	late -= len(s.m.stale)
	for _, u := range s.users {
		u.revoked = u.revoked || u.quota == quota && a[2] < 16
	}
	s.note("%s is put out, revoked %v", quota, a[2] < 16)
	if got := s.table.KillUser(s.clock(), quota, "kicked", &s.batch); got < n || got > n+late {
		s.fail("KillUser ended %d of %d", got, n)
	}
	s.want(nil, s.flush(nil))
}

// loop is a request from one of our own relayed addresses (RFC 8656 section 21.1.7).
func (s *sequence) loop(a step) {
	for _, c := range s.slots {
		l := s.m.lease(c.endpoint)
		if sock := s.relaySocket(l, 0); sock != nil {
			from := &slot{endpoint: &endpoint{addr: sock.Public, local: c.local, udp: true}}
			typ := []uint16{binding, allocate}[a[2]%2]
			s.note("a request from %v", sock.Public)
			s.want(nil, s.fromClient(from, appendCRC(header(typ, [12]byte(append(a[:], 1, 2, 3, 4)))), 0, nil))
		}
	}
}
