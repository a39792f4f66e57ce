package relay

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/pion/stun/v3"
)

func TestAllocate(t *testing.T) {
	w := newWorld(t)
	c := w.caller("alice", "11.22.33.101:1000")
	first := c.exchange(c.message(stun.MethodAllocate, attrs{udpTransport})).want(401)
	if v, err := first.Get(stun.AttrPasswordAlgorithms); err != nil || !bytes.Equal(v, passwordAlgorithms) {
		t.Errorf("PASSWORD-ALGORITHMS %x %v", v, err)
	}
	if first.Contains(stun.AttrSoftware) {
		t.Error("SOFTWARE is sent")
	}
	got := c.mustAllocate().wantSigned(c)
	if got.lifetime() != 600 || got.address(stun.AttrXORMappedAddress) != c.client.Addr {
		t.Errorf("lifetime %d, mapped %v", got.lifetime(), got.address(stun.AttrXORMappedAddress))
	}
	if c.relay.Addr() != relayV4 || c.relay.Port() < 50000 || c.relay.Port() > 50099 {
		t.Errorf("relayed address %v", c.relay)
	}
	if w.lastEvent() != "allocated alice " {
		t.Errorf("event %s", w.lastEvent())
	}
	c.refresh(lifetime(0)).want(0).wantSigned(c)
	if w.lastEvent() != "closed alice released" || w.table.Len() != 0 || len(w.closed) != 1 {
		t.Errorf("after Refresh 0: %s, %d left, %d closed", w.lastEvent(), w.table.Len(), len(w.closed))
	}
	c.mustAllocate() // the same 5-tuple again, at once
}

func TestAllocateRetransmission(t *testing.T) {
	w := newWorld(t)
	c := w.caller("alice", "11.22.33.101:1000")
	c.allocate() // learns the nonce, allocates
	c.refresh(lifetime(0)).want(0)
	w.hold = true
	m := c.message(stun.MethodAllocate, attrs{udpTransport})
	w.take()
	c.send(m.Raw)
	c.send(m.Raw)
	w.wantSilence("an Allocate whose socket is being opened, and its retransmission")
	if len(w.held) != 1 {
		t.Fatalf("%d sockets asked for, want 1", len(w.held))
	}
	w.hold = false
	w.open(w.held[0])
	w.flush()
	first := w.take()
	c.send(m.Raw)
	again := w.take()
	if len(first) != 1 || len(again) != 1 || !bytes.Equal(first[0].Head, again[0].Head) {
		t.Fatalf("the retransmission is answered differently: %v and %v", first, again)
	}
	c.allocate().want(437).wantSigned(c) // another transaction
}

// A late retransmission is told what the first answer told, and the time that is left.
func TestLateAllocateRetransmission(t *testing.T) {
	for name, a := range map[string]stun.Setter{
		"reservation":          raw(stun.AttrEvenPort, 0x80),
		"half of two families": raw(attrAdditionalAddressFamily, 2, 0, 0, 0),
	} {
		w := newWorld(t, func(o *Options) { o.Policy.Relays = o.Policy.Relays[:1] })
		c := w.caller("alice", "11.22.33.101:1000")
		c.exchangeChallenge()
		m := c.message(stun.MethodAllocate, attrs{udpTransport, a})
		first := c.exchange(m).want(0)
		w.pass(time.Minute)
		again := c.exchange(m).want(0)
		if first.lifetime() != 600 || again.lifetime() != 540 {
			t.Errorf("%s: lifetimes %d and %d", name, first.lifetime(), again.lifetime())
		}
		for _, typ := range []stun.AttrType{stun.AttrXORRelayedAddress, stun.AttrXORMappedAddress, stun.AttrReservationToken, attrAddressErrorCode} {
			v1, err1 := first.Get(typ)
			v2, err2 := again.Get(typ)
			if !bytes.Equal(v1, v2) || (err1 == nil) != (err2 == nil) {
				t.Errorf("%s: %v was %x, is %x", name, typ, v1, v2)
			}
		}
	}
}

func TestLifetimes(t *testing.T) {
	for _, c := range []struct{ ask, want uint32 }{{1, 600}, {600, 600}, {777, 777}, {3600, 3600}, {100000, 3600}, {0, 600}} {
		w := newWorld(t)
		a := w.caller("alice", "11.22.33.101:1000")
		if got := a.mustAllocate(lifetime(c.ask)).lifetime(); got != c.want {
			t.Errorf("Allocate with %d: %d, want %d", c.ask, got, c.want)
		}
		w.pass(time.Duration(c.want)*time.Second - time.Millisecond)
		if w.table.Len() != 1 {
			t.Errorf("gone before its %d s", c.want)
		}
		w.pass(time.Millisecond)
		if w.table.Len() != 0 || w.lastEvent() != "closed alice expired" || len(w.closed) != 1 {
			t.Errorf("after %d s: %d left, %s", c.want, w.table.Len(), w.lastEvent())
		}
	}
	w := newWorld(t)
	a := w.caller("alice", "11.22.33.101:1000")
	a.mustAllocate(lifetime(3600))
	a.refresh(lifetime(700)).want(0) // shortened
	w.pass(700 * time.Second)
	if w.table.Len() != 0 {
		t.Error("a shortened lifetime is not kept")
	}
	a.mustAllocate()
	w.pass(500 * time.Second)
	a.refresh().want(0)
	w.pass(500 * time.Second)
	if w.table.Len() != 1 {
		t.Error("a refresh does not lengthen")
	}
}

func TestExpiryIsSeenBeforeTheTick(t *testing.T) {
	w := newWorld(t)
	c := w.caller("alice", "11.22.33.101:1000")
	c.mustAllocate()
	c.bind(0x4000, peerA).want(0)
	w.now.Mono += 601 * time.Second // no tick
	w.take()
	c.channelData(0x4000, "late")
	w.wantSilence("data after the lifetime")
	c.refresh().want(437)
	c.mustAllocate()
}

func TestExpiredCredentialKeepsItsAllocation(t *testing.T) {
	for _, strict := range []bool{false, true} {
		w := newWorld(t, func(o *Options) { o.Policy.StrictExpiry = strict })
		c := w.caller("alice", "11.22.33.101:1000")
		c.mustAllocate()
		w.keys[c.username] = Login{Verdict: Expired, Passwords: []string{c.password}, User: "alice"}
		want := 0
		if strict {
			want = 401
		}
		c.refresh().want(want)
		c.permit(peerA).want(want)
		c.bind(0x4000, peerA).want(want)
		other := w.caller("alice", "11.22.33.102:1000")
		other.allocate().want(401)
	}
}

func TestEvenPortAndReservation(t *testing.T) {
	w := newWorld(t)
	for range 20 {
		c := w.caller("alice", fmt.Sprintf("11.22.33.101:%d", 1000+len(w.opened)))
		c.w.table.quota = quota{}
		c.mustAllocate(raw(stun.AttrEvenPort, 0))
		if c.relay.Port()%2 != 0 {
			t.Fatalf("EVEN-PORT gave %d", c.relay.Port())
		}
		w.table.Kill(w.now, w.table.lastID.Load(), "test", &w.batch)
		w.flush()
	}
	w = newWorld(t)
	c := w.caller("alice", "11.22.33.101:1000")
	got := c.mustAllocate(raw(stun.AttrEvenPort, 0x80))
	token, err := got.Get(stun.AttrReservationToken)
	if err != nil || len(token) != 8 {
		t.Fatalf("RESERVATION-TOKEN %x %v", token, err)
	}
	thief := w.caller("bob", "11.22.33.103:1000")
	thief.allocate(raw(stun.AttrReservationToken, token...)).want(508) // another user's token
	d := w.caller("alice", "11.22.33.102:1000")
	d.mustAllocate(raw(stun.AttrReservationToken, token...))
	if d.relay != netip.AddrPortFrom(c.relay.Addr(), c.relay.Port()+1) {
		t.Errorf("the reserved port: %v after %v", d.relay, c.relay)
	}
	e := w.caller("alice", "11.22.33.104:1000")
	e.allocate(raw(stun.AttrReservationToken, token...)).want(508) // used

	f := w.caller("alice", "11.22.33.105:1000")
	f.mustAllocate(raw(stun.AttrEvenPort, 0x80))
	closed := len(w.closed)
	w.pass(31 * time.Second)
	if len(w.closed) != closed+1 {
		t.Error("a reservation nobody came for is not given back after 30 s")
	}
}

func TestDualAllocation(t *testing.T) {
	w := newWorld(t)
	c := w.caller("alice", "11.22.33.101:1000")
	got := c.mustAllocate(raw(attrAdditionalAddressFamily, 2, 0, 0, 0))
	var relays []netip.AddrPort
	for _, a := range got.Attributes {
		if a.Type == stun.AttrXORRelayedAddress {
			r, _ := xorAddress(a.Value, got.TransactionID)
			relays = append(relays, r)
		}
	}
	if len(relays) != 2 || relays[0].Addr() != relayV4 || relays[1].Addr() != relayV6 {
		t.Fatalf("relayed addresses %v", relays)
	}
	c.permit(peerA, peerV6).want(0)
	w.take()
	c.sendIndication(peerV6, "six")
	if s := w.take(); len(s) != 1 || s[0].To != peerV6 || s[0].Via != w.socket(relays[1]) {
		t.Fatalf("to the IPv6 peer: %+v", s)
	}
	c.refresh(lifetime(0), raw(stun.AttrRequestedAddressFamily, 2, 0, 0, 0)).want(0)
	if w.table.Len() != 1 || len(w.closed) != 1 || w.closed[0].Public != relays[1] {
		t.Fatal("the IPv6 half alone should be gone")
	}
	c.permit(peerV6).want(443)
	c.permit(peerA).want(0)
	c.refresh(lifetime(0), raw(stun.AttrRequestedAddressFamily, 1, 0, 0, 0)).want(0)
	if w.table.Len() != 0 {
		t.Error("the last half should take the allocation along")
	}

	w = newWorld(t, func(o *Options) { o.Policy.Relays = o.Policy.Relays[:1] })
	c = w.caller("alice", "11.22.33.101:1000")
	got = c.mustAllocate(raw(attrAdditionalAddressFamily, 2, 0, 0, 0))
	v, err := got.Get(attrAddressErrorCode)
	if err != nil || v[0] != 2 || v[2] != 4 || v[3] != 40 {
		t.Errorf("ADDRESS-ERROR-CODE %x %v, want IPv6, 440", v, err)
	}
}

func TestIPv6Allocation(t *testing.T) {
	w := newWorld(t)
	c := w.caller("alice", "[2a11:22:33::101]:1000")
	c.client.Local = netip.MustParseAddrPort("[2a11:22:33::10]:3478")
	c.mustAllocate(raw(stun.AttrRequestedAddressFamily, 2, 0, 0, 0))
	if c.relay.Addr() != relayV6 {
		t.Fatalf("relayed address %v", c.relay)
	}
	c.bind(0x4000, peerV6).want(0)
	w.take()
	c.channelData(0x4000, "hello")
	c.wantToPeer(peerV6, "hello")
	for _, bad := range []string{"::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "fe80::1", "fd00::1", "::", "::7f00:1"} {
		c.request(stun.MethodCreatePermission, xor6(netip.MustParseAddr(bad))).want(403)
	}
	c.permit(peerA).want(443)
}

func TestPorts(t *testing.T) {
	w := newWorld(t, func(o *Options) {
		o.Policy.MinPort, o.Policy.MaxPort = 50000, 50009
		o.Policy.Limits.AllocationsPerUser = -1
	})
	seen := map[uint16]bool{}
	var order []uint16
	for i := range 10 {
		c := w.caller("alice", fmt.Sprintf("11.22.33.101:%d", 1000+i))
		c.mustAllocate()
		seen[c.relay.Port()] = true
		order = append(order, c.relay.Port())
	}
	if len(seen) != 10 || slices.IsSorted(order) {
		t.Errorf("ports %v, want ten different ones in random order", order)
	}
	c := w.caller("alice", "11.22.33.101:2000")
	c.allocate().want(508)
	w.table.Kill(w.now, 1, "test", &w.batch)
	w.flush()
	c.allocate().want(508) // the port rests
	w.pass(119 * time.Second)
	c.allocate().want(508)
	w.pass(time.Second)
	c.mustAllocate()
	if c.relay.Port() != order[0] {
		t.Errorf("got port %d, want the rested %d", c.relay.Port(), order[0])
	}
}

func TestTakenPorts(t *testing.T) {
	free := uint16(50007)
	w := newWorld(t, func(o *Options) { o.Policy.MinPort, o.Policy.MaxPort = 50000, 50009 })
	w.fail = func(s *Socket) error {
		if s.Local.Port() != free {
			return fmt.Errorf("bind: %w", ErrPortTaken)
		}
		return nil
	}
	c := w.caller("alice", "11.22.33.101:1000")
	c.mustAllocate()
	if c.relay.Port() != free {
		t.Errorf("port %d, want the only free one, %d", c.relay.Port(), free)
	}
	d := w.caller("alice", "11.22.33.102:1000")
	d.allocate().want(508).wantSigned(d)
	w.fail = func(*Socket) error { return errors.New("too many open files") }
	w.pass(3 * time.Minute)
	d.allocate().want(508)
	p := w.table.Policy()
	p.PortRest = -1 // without a rest, too, each port is tried once
	w.table.SetPolicy(p)
	w.fail = func(*Socket) error { return ErrPortTaken }
	w.pass(time.Minute)
	d.allocate().want(508)
	if w.table.Len() != 1 {
		t.Errorf("%d allocations, want 1", w.table.Len())
	}
}

func TestQuotas(t *testing.T) {
	w := newWorld(t, func(o *Options) {
		o.Policy.Limits = Limits{AllocationsPerUser: 2, AllocationsPerIP: 3, Allocations: 4}
	})
	w.keys["1800003600"] = Login{Verdict: Valid, Passwords: []string{"pw-"}}
	w.keys["1800007200:alice"] = Login{Verdict: Valid, Passwords: []string{"pw-alice"}, User: "alice"}
	a1, a2 := w.caller("alice", "11.22.33.101:1"), w.caller("alice", "11.22.33.101:2")
	a1.mustAllocate()
	a2.username = "1800007200:alice" // minted later, for the same user
	a2.mustAllocate()
	w.caller("alice", "11.22.33.102:1").allocate().want(486) // her third
	w.caller("bob", "11.22.33.101:3").mustAllocate()
	w.caller("bob", "11.22.33.101:4").allocate().want(486) // the address's fourth
	nobody := w.caller("", "11.22.33.103:1")
	nobody.username = "1800003600"
	nobody.mustAllocate()
	w.caller("bob", "11.22.33.104:1").allocate().want(486) // the fifth of all
	a1.refresh(lifetime(0)).want(0)
	w.caller("bob", "11.22.33.104:1").mustAllocate()
	if len(w.table.quota.users) != 2 || w.table.quota.total != 4 {
		t.Errorf("quota %v", &w.table.quota)
	}
}

// The server's own user takes no place, and gives none back.
func TestOwnUserIsOutsideOfTheQuotas(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Policy.Limits = Limits{AllocationsPerUser: 1, AllocationsPerIP: 1, Allocations: 1} })
	w.keys["1800003600:own"] = Login{Verdict: Valid, Passwords: []string{"pw-own"}, User: "own", Exempt: true}
	own := w.caller("own", "11.22.33.101:1")
	own.mustAllocate()
	w.caller("own", "11.22.33.101:2").mustAllocate()
	alice := w.caller("alice", "11.22.33.101:3")
	alice.mustAllocate()
	w.caller("own", "11.22.33.101:4").mustAllocate()
	own.refresh(lifetime(0)).want(0)
	w.caller("bob", "11.22.33.101:5").allocate().want(486)
	alice.refresh(lifetime(0)).want(0)
	if w.table.quota.total != 0 || len(w.table.quota.users) != 0 {
		t.Errorf("quota %v", &w.table.quota)
	}
}
