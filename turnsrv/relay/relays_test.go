package relay

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/pion/stun/v3"
)

// twoRelays has two IPv4 addresses, the second behind a NAT, and one of IPv6.
var (
	second      = RelayIP{netip.MustParseAddr("10.0.0.11"), netip.MustParseAddr("11.22.33.11")}
	withSeveral = func(o *Options) {
		o.Policy.Relays = []RelayIP{{relayV4, relayV4}, {relayV6, relayV6}, second}
		o.Policy.Limits.AllocationsPerIP, o.Policy.Limits.AllocationsPerUser = -1, -1
	}
)

// many makes n allocations, each of another client, and counts them by address.
func (w *world) many(n int, a ...stun.Setter) (callers []*caller, at map[netip.Addr]int) {
	w.t.Helper()
	at = map[netip.Addr]int{}
	for i := range n {
		c := w.caller("alice", fmt.Sprintf("11.22.33.101:%d", 1000+i))
		c.mustAllocate(a...)
		callers = append(callers, c)
		at[c.relay.Addr()]++
	}
	return callers, at
}

func TestAllocationsAreSpreadOverTheRelayAddresses(t *testing.T) {
	w := newWorld(t, withSeveral)
	callers, at := w.many(100)
	if n := at[relayV4]; n < 30 || n > 70 || at[second.Public] != 100-n {
		t.Errorf("spread %v, want about half of each", at)
	}
	for _, c := range callers {
		s := w.socket(c.relay)
		if want := s.Local.Addr(); want != relayV4 && want != second.Local {
			t.Fatalf("%v is bound at %v", c.relay, s.Local)
		}
	}
	six := w.caller("bob", "11.22.33.102:1000")
	if six.mustAllocate(raw(stun.AttrRequestedAddressFamily, 2, 0, 0, 0)); six.relay.Addr() != relayV6 {
		t.Errorf("IPv6: %v", six.relay)
	}
}

// An address whose ports are used up, or on which nothing can be bound, gives way.
func TestFullRelayAddressGivesWay(t *testing.T) {
	w := newWorld(t, withSeveral, func(o *Options) { o.Policy.MaxPort = 50003 })
	_, at := w.many(8)
	if at[relayV4] != 4 || at[second.Public] != 4 {
		t.Errorf("%v, want all four ports of each", at)
	}
	w.caller("bob", "11.22.33.102:1000").allocate().want(508)

	w = newWorld(t, withSeveral)
	w.fail = func(s *Socket) error {
		if s.Local.Addr() == second.Local {
			return errors.New("the address has left this machine")
		}
		return nil
	}
	if _, at := w.many(20); at[relayV4] != 20 {
		t.Errorf("%v, want the address that works", at)
	}
	w.fail = func(*Socket) error { return errors.New("no more descriptors") }
	w.caller("bob", "11.22.33.102:1000").allocate().want(508)
	if n := w.table.Len(); n != 20 {
		t.Errorf("%d allocations, want 20: a refused one leaves nothing", n)
	}
}

// Both ports of an EVEN-PORT request are at one address, whichever that is.
func TestPairIsAtOneRelayAddress(t *testing.T) {
	w := newWorld(t, withSeveral)
	seen := map[netip.Addr]bool{}
	for i := range 16 {
		c := w.caller("alice", fmt.Sprintf("11.22.33.101:%d", 1000+i))
		token, err := c.mustAllocate(raw(stun.AttrEvenPort, 0x80)).Get(stun.AttrReservationToken)
		if err != nil {
			t.Fatal(err)
		}
		next := w.caller("alice", fmt.Sprintf("11.22.33.101:%d", 2000+i))
		next.mustAllocate(raw(stun.AttrReservationToken, token...))
		if c.relay.Port()%2 != 0 || next.relay != netip.AddrPortFrom(c.relay.Addr(), c.relay.Port()+1) {
			t.Errorf("a pair of %v and %v", c.relay, next.relay)
		}
		seen[c.relay.Addr()] = true
	}
	if len(seen) != 2 {
		t.Errorf("pairs at %v, want both addresses", seen)
	}
}

// Where the pair fits only one of the addresses, that one has it.
func TestPairGoesWhereItFits(t *testing.T) {
	w := newWorld(t, withSeveral, func(o *Options) { o.Policy.MaxPort = 50001 })
	first := w.caller("alice", "11.22.33.101:1000")
	first.mustAllocate()
	c := w.caller("alice", "11.22.33.101:1001")
	if c.mustAllocate(raw(stun.AttrEvenPort, 0x80)); c.relay.Addr() == first.relay.Addr() {
		t.Errorf("%v has a pair beside %v, with two ports in all", c.relay, first.relay)
	}
}

// In process delivery and the rules about our own addresses hold for every relay
// address, local and external.
func TestEveryRelayAddressIsOurs(t *testing.T) {
	w := newWorld(t, withSeveral)
	callers, _ := w.many(12)
	a := callers[0]
	for i, b := range callers[1:] {
		a.bind(uint16(0x4000+i), b.relay).want(0)
		b.permit(a.relay).want(0)
		w.take()
		a.channelData(uint16(0x4000+i), "hello")
		b.wantData(a.relay, "hello")
	}
	for i, addr := range []netip.Addr{relayV4, second.Local, second.Public} {
		port := uint16(50000)
		for slices.ContainsFunc(w.opened, func(s *Socket) bool { return s.Public.Port() == port }) {
			port++
		}
		a.bind(uint16(0x4100+i), netip.AddrPortFrom(addr, port)).want(0) // somebody may have it soon
		w.take()
		a.channelData(uint16(0x4100+i), "hello")
		w.wantSilence("nobody has that port, and our own address is no peer")
	}
}

// A user with limits of its own has those in place of everybody's, from the next
// policy on.
func TestUserLimits(t *testing.T) {
	policy := func(users map[string]UserLimits) func(*Options) {
		return func(o *Options) {
			o.Policy.Limits.AllocationsPerUser, o.Policy.Limits.AllocationsPerIP = 2, 3
			o.Policy.Users = users
		}
	}
	w := newWorld(t, policy(map[string]UserLimits{"alice": {Allocations: 5, AllocationsPerIP: -1}}))
	take := func(user string, i int) *answer {
		t.Helper()
		return w.caller(user, fmt.Sprintf("11.22.33.101:%d", 1000+i)).allocate()
	}
	for i := range 5 {
		take("alice", i).want(0)
	}
	take("alice", 5).want(486)
	take("bob", 6).want(486) // the address has its three, whoever they are of
	other := func(i int) *answer { return w.caller("bob", fmt.Sprintf("11.22.33.102:%d", 1000+i)).allocate() }
	other(0).want(0)
	other(1).want(0)
	other(2).want(486)

	o := Options{Policy: w.table.Policy()}
	policy(map[string]UserLimits{"alice": {Allocations: -1, AllocationsPerIP: -1}})(&o)
	w.table.SetPolicy(o.Policy)
	for i := range 20 {
		take("alice", 10+i).want(0)
	}
	policy(nil)(&o)
	w.table.SetPolicy(o.Policy)
	take("alice", 40).want(486)
}

// The bandwidth of a user holds for its live allocations too, under each policy.
func TestUserBandwidth(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Policy.Limits.Bandwidth = 8000 }) // 500 bytes at once
	c := w.caller("alice", "11.22.33.101:1000")
	c.mustAllocate()
	c.bind(0x4000, peerA).want(0)
	through := func() (n int) {
		w.pass(20 * time.Second)
		w.take()
		for range 20 {
			c.channelData(0x4000, string(make([]byte, 100)))
		}
		return len(w.take())
	}
	if n := through(); n > 7 {
		t.Errorf("%d of 20 packets pass everybody's limit", n)
	}
	p := w.table.Policy()
	for _, step := range []struct {
		users map[string]UserLimits
		all   bool
	}{
		{map[string]UserLimits{"alice": {Bandwidth: 8_000_000}}, true},
		{map[string]UserLimits{"bob": {Bandwidth: 8_000_000}}, false},
		{map[string]UserLimits{"alice": {Bandwidth: -1}}, true},
		{nil, false},
	} {
		p.Users = step.users
		w.table.SetPolicy(p)
		if n := through(); (n == 20) != step.all {
			t.Errorf("%v: %d of 20 packets pass", step.users, n)
		}
	}
}

// Whoever changes its public address every night does not keep all of them: a former one
// is ours while an allocation is there, then it is a peer like any other.
func TestFormerRelayAddress(t *testing.T) {
	inner, first, next := netip.MustParseAddr("10.0.0.5"), netip.MustParseAddr("11.22.55.1"), netip.MustParseAddr("11.22.55.2")
	w := newWorld(t, func(o *Options) { o.Policy.Relays = []RelayIP{{inner, first}} })
	become := func(ip netip.Addr) {
		p := w.table.Policy()
		p.Relays = []RelayIP{{inner, ip}}
		w.table.SetPolicy(p)
	}
	a, b := w.caller("alice", "11.22.33.101:1000"), w.caller("bob", "11.22.33.102:1000")
	a.mustAllocate()
	become(next)
	become(next)
	b.mustAllocate()
	if a.relay.Addr() != first || b.relay.Addr() != next {
		t.Fatalf("relayed at %v and %v", a.relay, b.relay)
	}
	b.bind(0x4000, a.relay).want(0)
	a.permit(b.relay).want(0)
	w.take()
	b.channelData(0x4000, "hello")
	a.wantData(b.relay, "hello") // in process, at the address of before
	stranger := netip.AddrPortFrom(first, 9)
	b.bind(0x4001, stranger).want(0)
	w.take()
	b.channelData(0x4001, "hello")
	w.wantSilence("the address of before is still ours")
	a.refresh(lifetime(0)).want(0)
	become(next)
	w.take()
	b.channelData(0x4001, "hello")
	b.wantToPeer(stranger, "hello")
	for i := range 1000 {
		become(netip.AddrFrom4([4]byte{11, 23, byte(i >> 8), byte(i)}))
	}
	if n := len(w.table.policy.Load().relayIPs); n > 6 {
		t.Errorf("%d addresses are kept, want those of now, of before, and bob's", n)
	}
}
