package relay

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/pion/stun/v3"
)

// Channel numbers. RFC 8656 section 12 has clients choose from 0x4000–0x4FFF; RFC
// 5766 had them choose up to 0x7FFF, and clients in use still do (coturn's own takes
// a random one). Nothing else begins with these bits on our sockets (RFC 7983), so
// both are served.
const (
	minChannel = 0x4000
	maxChannel = 0x7FFF
)

// handleRefresh lengthens or ends an allocation (RFC 8656 section 8.2).
func (t *Table) handleRefresh(r *request, a *allocation) {
	lifetime, ok := r.msg.lifetime()
	if !ok {
		t.refuse(r, 400)
		return
	}
	only := -1
	if v, has := r.msg.get(stun.AttrRequestedAddressFamily); has {
		f, ok := addressFamily(v)
		if !ok || a.sockets[f].Load() == nil {
			t.refuse(r, 443)
			return
		}
		only = int(f)
	}
	if lifetime != 0 {
		lifetime = min(max(lifetime, defaultLifetime), maxLifetime)
		a.expires.Store(int64(r.now.Mono + lifetime))
		t.lifetimes.set(a, r.now.Mono+lifetime)
		r.batch.Events = append(r.batch.Events, Event{Kind: Refreshed, Info: a.info()})
	}
	msg := r.begin(stun.ClassSuccessResponse)
	r.answer(appendUint32Attr(msg, stun.AttrLifetime, uint32(lifetime/time.Second)), 0)
	if lifetime == 0 {
		t.release(r, a, only)
	}
}

// release ends an allocation, or one family of a dual one.
func (t *Table) release(r *request, a *allocation, only int) {
	if only >= 0 && a.sockets[1-only].Load() != nil {
		t.population.gone(a)
		t.closeSocket(r.now, a.sockets[only].Swap(nil), r.batch)
		t.population.stays(a)
		return
	}
	t.closeLocked(r.now, a, "released", r.batch)
}

// handleCreatePermission installs or refreshes permissions, all of a request or
// none (RFC 8656 section 10.2).
func (t *Table) handleCreatePermission(r *request, a *allocation) {
	var peers []netip.Addr
	for i := range r.msg.attrs {
		if r.msg.attrs[i].Type != stun.AttrXORPeerAddress {
			continue
		}
		peer, ok := xorAddress(r.msg.attrs[i].Value, r.msg.id)
		if !ok {
			t.refuse(r, 400)
			return
		}
		if code := t.judge(r, a, peer, 0); code != 0 {
			t.refusePeer(r, a, peer, netip.AddrPortFrom(peer.Addr(), 0), code)
			return
		}
		peers = append(peers, peer.Addr())
	}
	if len(peers) == 0 {
		t.refuse(r, 400)
		return
	}
	v := a.view.Load().pruned(r.now)
	known := len(v.permissions)
	for _, addr := range peers {
		if v, _ = v.permit(r.now, addr); full(len(v.permissions)-1, r.policy.Limits.Permissions) {
			t.refuse(r, 508)
			return
		}
	}
	if !a.meets(r.now, len(v.permissions)-known, r.policy.Limits.NewPeers) {
		t.refuseNewPeer(r)
		return
	}
	for _, addr := range peers {
		t.renew(r.now, v.permission(addr))
		t.trace(r, TracePermitted, 0, "", netip.AddrPortFrom(addr, 0))
	}
	a.view.Store(v)
	r.answer(r.begin(stun.ClassSuccessResponse), 0)
}

// refuseNewPeer answers a request for more new peers than the allocation's rate admits.
func (t *Table) refuseNewPeer(r *request) {
	r.batch.Counts.came(DeniedPace)
	t.refuse(r, 508)
}

// permit returns a view that has an entry for addr; a new one is not live yet.
func (v *view) permit(now Now, addr netip.Addr) (*view, *permission) {
	if p := v.permission(addr); p != nil {
		return v, p
	}
	p := &permission{addr: addr}
	return v.withPermission(p), p
}

func (t *Table) renew(now Now, p *permission) {
	p.expires.Store(int64(now.Mono + permissionLifetime))
	p.verdict.Store(0) // the next packet asks the policy
}

// judge says whether an allocation may have this peer: 443 for the wrong family,
// 403 for one that the policy refuses, 0 for yes. The port counts for channels.
func (t *Table) judge(r *request, a *allocation, peer netip.AddrPort, port uint16) int {
	f := ipv4
	if !peer.Addr().Is4() { // a mapped address is IPv6 on the wire
		f = ipv6
	}
	if a.sockets[f].Load() == nil {
		return 443
	}
	if !r.policy.mayPermit(peer.Addr(), a.relayOnly) {
		r.batch.Counts.came(r.policy.whyNot(peer, a.relayOnly))
		return 403
	}
	if port != 0 && !r.policy.isRelayIP(peer.Addr()) && !r.policy.admits(peer) {
		r.batch.Counts.came(r.policy.whyNot(peer, false))
		return 403
	}
	return 0
}

// refusePeer answers a request for a peer that judge refuses; asked is what the policy
// was asked, with a port of 0 where only the address counts.
func (t *Table) refusePeer(r *request, a *allocation, peer, asked netip.AddrPort, code int) {
	why := ""
	if t.traces(r) {
		if why = WhyFamily; code == 403 {
			why = r.policy.rule(asked, a.relayOnly)
		}
	}
	t.refuseWhy(r, code, why, peer)
}

// handleChannelBind binds a number to a peer, or refreshes that (RFC 8656 section
// 12.2). It installs the permission as well.
func (t *Table) handleChannelBind(r *request, a *allocation) {
	cn, hasNumber := r.msg.get(stun.AttrChannelNumber)
	pa, hasPeer := r.msg.get(stun.AttrXORPeerAddress)
	if !hasNumber || !hasPeer || len(cn) != 4 {
		t.refuse(r, 400)
		return
	}
	number := binary.BigEndian.Uint16(cn)
	peer, ok := xorAddress(pa, r.msg.id)
	if !ok || peer.Port() == 0 || number < minChannel || number > maxChannel {
		t.refuse(r, 400)
		return
	}
	if code := t.judge(r, a, peer, peer.Port()); code != 0 {
		t.refusePeer(r, a, peer, peer, code)
		return
	}
	v := a.view.Load().pruned(r.now)
	c := v.channel(number)
	if c != v.channelTo(peer) { // the number has another peer, or the peer another number
		t.refuse(r, 400)
		return
	}
	known := len(v.permissions)
	v, perm := v.permit(r.now, peer.Addr())
	if c == nil {
		c = &channel{number: number, peer: peer, perm: perm}
		v = v.withChannel(c)
	}
	l := r.policy.Limits
	if full(len(v.permissions)-1, l.Permissions) || full(len(v.byNumber)-1, l.Channels) {
		t.refuse(r, 508)
		return
	}
	if !a.meets(r.now, len(v.permissions)-known, l.NewPeers) {
		t.refuseNewPeer(r)
		return
	}
	t.renew(r.now, perm)
	t.trace(r, TracePermitted, 0, "", peer)
	c.expires.Store(int64(r.now.Mono + channelLifetime))
	c.verdict.Store(0)
	a.view.Store(v)
	r.answer(r.begin(stun.ClassSuccessResponse), 0)
}
