package relay

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"sync/atomic"

	"github.com/pion/stun/v3"
)

// Payload bounds: what fits a UDP datagram over IPv4, and behind four bytes of
// ChannelData header in one.
const (
	maxDatagram   = 65507
	maxUDPChannel = maxDatagram - 4
	dataHeaderMax = headerLen + attrHeaderLen + 20 + attrHeaderLen
)

// HandleClient takes what one read brought from a client: one message, or, with
// seg > 0, messages of seg bytes each (the last may be shorter), as UDP_GRO
// delivers them. A stream's framer hands in whole frames, padding included. buf
// must stay as it is until the batch is flushed.
func (t *Table) HandleClient(now Now, c *Client, buf []byte, seg int, b *Batch) {
	if seg <= 0 {
		seg = len(buf)
	}
	out := outbound{client: c}
	for len(buf) > seg {
		t.handleMessage(now, &out, buf[:seg:seg], b)
		buf = buf[seg:]
	}
	t.handleMessage(now, &out, buf, b)
}

// outbound is the way of one read from a client.
type outbound struct {
	client *Client
	found  bool        // alloc is known
	alloc  *allocation // nil: the client has none
}

// handleMessage tells STUN and ChannelData apart by the first two bits (RFC 8656
// section 12.4).
func (t *Table) handleMessage(now Now, out *outbound, msg []byte, b *Batch) {
	switch {
	case len(msg) < 4:
		b.drop(NotTURN)
	case msg[0]>>6 == 0:
		t.handleSTUN(now, out.client, msg, b)
		out.found = false // a request may have made or ended the allocation
	case msg[0]>>6 == 1:
		if !out.found {
			out.alloc, out.found = t.find(out.client), true
		}
		t.handleChannelData(now, out.alloc, msg, b)
	default:
		b.drop(NotTURN)
	}
}

// handleChannelData relays one ChannelData message to the channel's peer. a is the
// client's allocation, nil if it has none.
func (t *Table) handleChannelData(now Now, a *allocation, msg []byte, b *Batch) {
	number, n := binary.BigEndian.Uint16(msg), int(binary.BigEndian.Uint16(msg[2:]))
	if 4+n > len(msg) {
		b.drop(Malformed)
		return
	}
	if a == nil || !a.live(now) {
		b.drop(NoAllocation)
		return
	}
	ch := a.view.Load().channel(number)
	if ch == nil || !ch.live(now) {
		b.drop(NoChannel)
		return
	}
	p := t.policy.Load()
	s := a.sockets[familyOf(ch.peer.Addr())].Load()
	if s == nil {
		b.drop(NoChannel)
		return
	}
	t.toPeer(now, p, a, s, ch.peer, flowVerdict(&ch.verdict, p, ch.peer, a.relayOnly), msg[4:4+n], false, b)
}

// A verdict is what the policy said of a flow: the generation that was asked, and
// two bits. Zero has no generation: ask.
const (
	verdictDenied = 1 << iota // not admitted, unless it is a live relayed address
	verdictOwn                // at an address of our relays: may be one
	verdictBits   = iota
)

// flowVerdict returns the verdict of the policy in force, asking it once for each
// generation.
func flowVerdict(v *atomic.Uint64, p *policy, peer netip.AddrPort, relayOnly bool) uint64 {
	if got := v.Load(); got>>verdictBits == p.gen {
		return got
	}
	got := p.gen << verdictBits
	if relayOnly || !p.admits(peer) {
		got |= verdictDenied
	}
	if p.isRelayIP(peer.Addr()) {
		got |= verdictOwn
	}
	v.Store(got)
	return got
}

// toPeer sends application data from a relayed address, in process where the peer
// is one of ours: that needs no hairpin NAT and no kernel.
func (t *Table) toPeer(now Now, p *policy, a *allocation, s *Socket, peer netip.AddrPort, v uint64, data []byte, df bool, b *Batch) {
	var dst *Socket
	if v&verdictOwn != 0 {
		dst = t.sockets.load(addrKey{a: peer})
	}
	if dst == nil && v&verdictDenied != 0 {
		b.drop(PeerDenied)
		return
	}
	if len(data) > maxDatagram {
		b.drop(TooLarge)
		return
	}
	if why, ok := a.admit(now, Sent, len(data), p.limits(a)); !ok {
		b.drop(why)
		return
	}
	b.Counts.relayed(a.client.Transport, Sent, len(data))
	if dst != nil {
		t.HandlePeer(now, dst, s.Public, data, 0, b)
		return
	}
	b.toPeer(s, peer, data, df)
}

func (c *Counts) relayed(tr Transport, d Direction, n int) {
	c.Bytes[tr][d] += uint64(n)
	c.Packets[tr][d]++
}

// HandlePeer takes what one read of a relay socket brought: one datagram of a peer,
// or, with seg > 0, datagrams of seg bytes each (the last may be shorter). buf must
// stay as it is until the batch is flushed.
func (t *Table) HandlePeer(now Now, s *Socket, peer netip.AddrPort, buf []byte, seg int, b *Batch) {
	if seg <= 0 {
		seg = len(buf)
	}
	a := s.state.alloc.Load()
	if a == nil || !a.live(now) {
		b.dropAll(NoAllocation, buf, seg)
		return
	}
	p := t.policy.Load()
	in := inbound{now: now, policy: p, alloc: a, peer: peer}
	if why, ok := in.admit(t); !ok {
		b.dropAll(why, buf, seg)
		return
	}
	for len(buf) > seg {
		in.deliver(buf[:seg], b)
		buf = buf[seg:]
	}
	in.deliver(buf, b)
}

// inbound is the way of one read from a peer to the client.
type inbound struct {
	now     Now
	policy  *policy
	alloc   *allocation
	peer    netip.AddrPort
	channel *channel // nil: a permission alone, so Data indications
}

// admit finds the channel or the permission of the peer and asks the policy.
func (in *inbound) admit(t *Table) (Reason, bool) {
	v := in.alloc.view.Load()
	var got uint64
	if ch := v.channelTo(in.peer); ch != nil && ch.live(in.now) {
		in.channel = ch
		got = flowVerdict(&ch.verdict, in.policy, in.peer, in.alloc.relayOnly)
	} else {
		perm := v.permission(in.peer.Addr())
		if perm == nil || !perm.live(in.now) {
			return NoPermission, false
		}
		got = permissionVerdict(perm, in.policy, in.peer, in.alloc.relayOnly)
	}
	if got&verdictDenied != 0 && (got&verdictOwn == 0 || !t.own(in.peer)) {
		return PeerDenied, false
	}
	return 0, true
}

// permissionVerdict is flowVerdict for an address without a port. A peer at one of
// our own addresses is judged with its port each time.
func permissionVerdict(perm *permission, p *policy, peer netip.AddrPort, relayOnly bool) uint64 {
	got := flowVerdict(&perm.verdict, p, netip.AddrPortFrom(perm.addr, 0), relayOnly)
	if !p.hasOwn(peer.Addr()) {
		return got
	}
	if relayOnly || !p.admits(peer) {
		return got | verdictDenied
	}
	return got &^ verdictDenied
}

// deliver sends one datagram's payload to the client.
func (in *inbound) deliver(data []byte, b *Batch) {
	c := in.alloc.client
	if len(data) > maxDatagram || c.Transport == UDP && in.channel != nil && len(data) > maxUDPChannel ||
		c.Transport == UDP && in.channel == nil && len(data)+dataHeaderMax > maxDatagram {
		b.drop(TooLarge)
		return
	}
	if why, ok := in.alloc.admit(in.now, Received, len(data), in.policy.limits(in.alloc)); !ok {
		b.drop(why)
		return
	}
	b.Counts.relayed(c.Transport, Received, len(data))
	if in.channel == nil {
		b.toClient(c, dataHeader(b, in.peer, len(data)), data, padded(len(data))-len(data))
		return
	}
	pad := 0
	if c.Transport.Stream() {
		pad = padded(len(data)) - len(data)
	}
	b.toClient(c, channelHeader(b, in.channel.number, len(data)), data, pad)
}

// dataHeader writes a Data indication up to its data (RFC 8656 section 11.3).
func dataHeader(b *Batch, peer netip.AddrPort, n int) []byte {
	msg := indication(b, peer)
	msg = append(msg, 0, byte(stun.AttrData), byte(n>>8), byte(n))
	setLength(msg, len(msg)+padded(n))
	b.build = msg
	out := b.bytes(len(msg))
	copy(out, msg)
	return out
}

// indication starts a Data indication from a peer in the batch's building memory.
func indication(b *Batch, peer netip.AddrPort) []byte {
	var id [12]byte
	binary.LittleEndian.PutUint64(id[:], rand.Uint64())
	binary.LittleEndian.PutUint32(id[8:], rand.Uint32())
	msg := appendHeader(b.build[:0], stun.MessageType{Method: stun.MethodData, Class: stun.ClassIndication}, id)
	return appendXORAddress(msg, stun.AttrXORPeerAddress, peer, id)
}

// handleIndication takes the indications that clients send: Send (RFC 8656 section
// 11.2); Binding is a keep-alive and needs nothing.
func (t *Table) handleIndication(now Now, c *Client, m *message, b *Batch) {
	if m.typ.Method == stun.MethodBinding {
		return
	}
	if m.typ.Method != stun.MethodSend {
		b.drop(UnknownMethod)
		return
	}
	value, hasPeer := m.get(stun.AttrXORPeerAddress)
	data, hasData := m.get(stun.AttrData)
	peer, ok := xorAddress(value, m.id)
	if !hasPeer || !hasData || !ok || len(m.unknown()) > 0 {
		b.drop(Malformed)
		return
	}
	a := t.find(c)
	if a == nil || !a.live(now) {
		b.drop(NoAllocation)
		return
	}
	f := ipv4
	if !peer.Addr().Is4() {
		f = ipv6
	}
	s := a.sockets[f].Load()
	perm := a.view.Load().permission(peer.Addr())
	if s == nil || perm == nil || !perm.live(now) {
		b.drop(NoPermission)
		return
	}
	p := t.policy.Load()
	got := permissionVerdict(perm, p, peer, a.relayOnly)
	t.toPeer(now, p, a, s, peer, got, data, m.has(stun.AttrDontFragment), b)
}

// ICMP is an error that the kernel reported for a datagram of a relay socket.
type ICMP struct {
	Type, Code uint8
	Data       uint32 // the MTU where the packet was too big, else 0
}

// HandleICMP tells the client of an ICMP error from the way to a peer (RFC 8656
// section 11.5), if its Allocate asked for DONT-FRAGMENT: such a client looks for the
// path's MTU. To others the indication, which has no DATA, is malformed: pion's client
// even ends at it.
func (t *Table) HandleICMP(now Now, s *Socket, peer netip.AddrPort, e ICMP, b *Batch) {
	a := s.state.alloc.Load()
	if a == nil || !a.icmp || !a.live(now) || !e.forwarded(familyOf(peer.Addr())) {
		return
	}
	perm := a.view.Load().permission(peer.Addr())
	if perm == nil || !perm.live(now) {
		b.drop(NoPermission)
		return
	}
	msg := indication(b, peer)
	var v [8]byte
	binary.BigEndian.PutUint16(v[2:], uint16(e.Type)<<9|uint16(e.Code)) // 7 and 9 bits: section 18.13
	binary.BigEndian.PutUint32(v[4:], e.Data)
	msg = appendAttr(msg, attrICMP, v[:]...)
	setLength(msg, len(msg))
	b.build = msg
	out := b.bytes(len(msg))
	copy(out, msg)
	b.toClient(a.client, out, nil, 0)
}

// forwarded reports whether RFC 8656 section 11.5 passes this error on: destination
// unreachable, packet too big and time exceeded.
func (e ICMP) forwarded(f family) bool {
	if f == ipv4 {
		return e.Type == 3 || e.Type == 11
	}
	return e.Type >= 1 && e.Type <= 3
}
