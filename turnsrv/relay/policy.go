package relay

import (
	"net/netip"
	"slices"
	"time"
)

// RelayIP is one address of this machine that relay sockets are bound to, and the
// address that the world reaches it by (the same unless NAT stands between).
type RelayIP struct{ Local, Public netip.Addr }

// Policy is what may change while the server runs; see Table.SetPolicy.
type Policy struct {
	// Relays are the addresses that allocations get. Several of a family share them
	// evenly; where one has no port left, the next one serves. A family without any is
	// answered with 440.
	Relays []RelayIP

	MinPort, MaxPort uint16        // relay ports, inclusive; both 0 means 49152–65535
	PortRest         time.Duration // how long a port rests after use; 0 means 120 s, negative not at all

	// Peers are judged in this order: a live relayed address of ours is delivered
	// to in process; Own is refused; Allow is admitted; OwnAddrs and Deny are
	// refused; the rest is admitted.
	Allow    []netip.Prefix
	Deny     []netip.Prefix   // nil means RecommendedDeny()
	Own      []netip.AddrPort // our listeners: an unspecified address means each of OwnAddrs, port 0 every port
	OwnAddrs []netip.Addr     // this machine's addresses

	Limits       Limits
	Users        map[string]UserLimits // exceptions, by user; not changed after SetPolicy
	StrictExpiry bool                  // an expired credential cannot refresh or bind either

	// Draining refuses new allocations: with 300 and the first of Alternates of the client's
	// family, else with 508.
	Draining   bool
	Alternates []netip.AddrPort
}

// Limits bound what clients can take. Zero means the default, negative unlimited.
type Limits struct {
	AllocationsPerUser int // default 16; counted on the user part of the username
	AllocationsPerIP   int // default 64, and as many new ones in 10 s; an IPv6 client counts by its /64
	Allocations        int // default unlimited
	Permissions        int // per allocation, default 128
	Channels           int // per allocation, default 64

	NewPeers Rate // permissions of one allocation for addresses that have none, default 5/s after 64 at once

	Bandwidth int64 // bit/s of application data per allocation and direction, default 20,000,000
	Packets   int64 // packets/s per allocation and direction, default unlimited

	// Answers over UDP per IPv4 address or IPv6 /64; bursts of twice N pass.
	Unauthenticated Rate // errors to requests without a valid MAC, default 10/s
	Binding         Rate // default 100/s
	FailedLogins    Rate // 401 to a wrong password, over every transport, default 10 in 10 s
}

// UserLimits are what one user has in place of the Limits of everybody. Zero means as
// in those, negative unlimited.
type UserLimits struct {
	Allocations      int   // in place of AllocationsPerUser
	AllocationsPerIP int   // counted over all users of the address, as always
	Bandwidth        int64 // bit/s per allocation and direction
}

// over returns the limits of everybody with those of the user put in.
func (u UserLimits) over(l Limits) Limits {
	for mine, of := range map[*int]int{&l.AllocationsPerUser: u.Allocations, &l.AllocationsPerIP: u.AllocationsPerIP} {
		if of != 0 {
			*mine = of
		}
	}
	if u.Bandwidth != 0 {
		l.Bandwidth = u.Bandwidth
	}
	return l
}

// Rate is N events per duration. The zero Rate means the default, negative N
// unlimited.
type Rate struct {
	N   int
	Per time.Duration
}

const defaultPortRest = 120 * time.Second

// withDefaults fills in what zero stands for.
func (p Policy) withDefaults() Policy {
	if p.MinPort == 0 && p.MaxPort == 0 {
		p.MinPort, p.MaxPort = 49152, 65535
	}
	if p.PortRest == 0 {
		p.PortRest = defaultPortRest
	}
	if p.Deny == nil {
		p.Deny = RecommendedDeny()
	}
	l := &p.Limits
	setDefault(&l.AllocationsPerUser, 16)
	setDefault(&l.AllocationsPerIP, 64)
	setDefault(&l.Allocations, -1)
	setDefault(&l.Permissions, 128)
	setDefault(&l.Channels, 64)
	setDefault(&l.NewPeers, Rate{5, time.Second})
	setDefault(&l.Bandwidth, 20_000_000)
	setDefault(&l.Packets, -1)
	setDefault(&l.Unauthenticated, Rate{10, time.Second})
	setDefault(&l.Binding, Rate{100, time.Second})
	setDefault(&l.FailedLogins, Rate{10, 10 * time.Second})
	return p
}

func setDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// recommendedDeny is every special-purpose block of the IANA registries (RFC 6890)
// and those that embed IPv4 addresses.
var recommendedDeny = prefixes(
	"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
	"192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24",
	"198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
	"::/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "100:0:0:1::/64", "2001::/23",
	"2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10",
	"fec0::/10", "ff00::/8",
)

func prefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, s := range list {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

// RecommendedDeny returns the peers that are refused by default: private,
// loopback, link-local, multicast, documentation and transition addresses.
func RecommendedDeny() []netip.Prefix { return slices.Clone(recommendedDeny) }

// maxForms is how many hosts one address can mean.
const maxForms = 5

// formsOf returns the hosts that addr may reach: itself without zone, and the IPv4
// address that it stands for when it is IPv4-mapped or IPv4-compatible (RFC 4291),
// 6to4 (RFC 3056), Teredo (RFC 4380) or NAT64 (RFC 6052). The local-use NAT64
// prefix (RFC 8215) does not tell where the IPv4 address stands: each place counts
// that holds more than the zeros beside another.
func formsOf(addr netip.Addr) (forms [maxForms]netip.Addr, n int) {
	addr = addr.WithZone("")
	forms[0] = addr
	if addr.Is4() {
		return forms, 1
	}
	b, n := addr.As16(), 1
	v4 := func(i, j, k, l int) {
		forms[n] = netip.AddrFrom4([4]byte{b[i], b[j], b[k], b[l]})
		n++
	}
	switch {
	case addr.IsLoopback() || addr.IsUnspecified(): // in ::/96, but no IPv4 address
	case addr.Is4In6(), compatible.Contains(addr), nat64.Contains(addr):
		v4(12, 13, 14, 15)
	case nat64Local.Contains(addr):
		for _, at := range [][4]int{{6, 7, 9, 10}, {7, 9, 10, 11}, {9, 10, 11, 12}, {12, 13, 14, 15}} {
			if b[at[0]] != 0 {
				v4(at[0], at[1], at[2], at[3])
			}
		}
	case sixToFour.Contains(addr):
		v4(2, 3, 4, 5)
	case teredo.Contains(addr): // the client's address, inverted
		for i := 12; i < 16; i++ {
			b[i] = ^b[i]
		}
		v4(12, 13, 14, 15)
	}
	return forms, n
}

var (
	compatible = netip.MustParsePrefix("::/96")
	nat64      = netip.MustParsePrefix("64:ff9b::/96")
	nat64Local = netip.MustParsePrefix("64:ff9b:1::/48")
	sixToFour  = netip.MustParsePrefix("2002::/16")
	teredo     = netip.MustParsePrefix("2001::/32")
)

// policy is a Policy made ready for questions.
type policy struct {
	Policy
	gen      uint64
	relays   [numFamilies][]RelayIP
	users    map[string]*Limits // of those who have their own
	relayIPs []netip.Addr       // local and public, of this policy and those before; see Table.stillOurs
	own      []netip.AddrPort   // unmapped
	local    []netip.Addr       // this machine's and the relays' addresses, unmapped
}

func compile(p Policy, before *policy) *policy {
	c := &policy{Policy: p.withDefaults(), gen: 1}
	add := func(list *[]netip.Addr, a netip.Addr) {
		if a = a.Unmap(); a.IsValid() && !slices.Contains(*list, a) {
			*list = append(*list, a)
		}
	}
	if before != nil {
		c.gen = before.gen + 1
		c.relayIPs = slices.Clone(before.relayIPs)
	}
	for _, r := range p.Relays {
		f := familyOf(r.Local)
		c.relays[f] = append(c.relays[f], r)
		add(&c.relayIPs, r.Local)
		add(&c.relayIPs, r.Public)
	}
	for name, u := range p.Users {
		if c.users == nil {
			c.users = map[string]*Limits{}
		}
		l := u.over(c.Limits)
		c.users[name] = &l
	}
	for _, a := range p.OwnAddrs {
		add(&c.local, a)
	}
	for _, a := range c.relayIPs {
		add(&c.local, a)
	}
	for _, o := range p.Own {
		c.own = append(c.own, netip.AddrPortFrom(o.Addr().Unmap(), o.Port()))
	}
	return c
}

// limitsOf returns the limits of a user.
func (p *policy) limitsOf(user string) *Limits {
	if l := p.users[user]; l != nil {
		return l
	}
	return &p.Limits
}

// limits are limitsOf the allocation's user, which is looked up once for each policy.
func (p *policy) limits(a *allocation) *Limits {
	if len(p.users) == 0 {
		return &p.Limits
	}
	l := a.limits.Load()
	if l == nil || l.gen != p.gen {
		l = &ownLimits{p.gen, p.limitsOf(a.user)}
		a.limits.Store(l)
	}
	return l.limits
}

// ownLimits are an allocation's by the policy of a generation.
type ownLimits struct {
	gen    uint64
	limits *Limits
}

// isRelayIP reports whether relayed addresses of ours may be at addr.
func (p *policy) isRelayIP(addr netip.Addr) bool { return slices.Contains(p.relayIPs, addr) }

// hasOwn reports whether addr reaches this machine, where the port decides.
func (p *policy) hasOwn(addr netip.Addr) bool {
	forms, n := formsOf(addr)
	for _, a := range forms[:n] {
		if p.isLocal(a) {
			return true
		}
	}
	return false
}

// isLocal reports whether a is an address of this machine. Every loopback address
// is, and to Linux 0.0.0.0 and :: are loopback addresses too.
func (p *policy) isLocal(a netip.Addr) bool {
	return a.IsLoopback() || a.IsUnspecified() || slices.Contains(p.local, a)
}

// isListener reports whether we listen at a.
func (p *policy) isListener(a netip.Addr, port uint16) bool {
	for _, o := range p.own {
		if (o.Port() == port || o.Port() == 0) && (o.Addr() == a || o.Addr().IsUnspecified() && p.isLocal(a)) {
			return true
		}
	}
	return false
}

// admits judges an address that is not a live relayed address of ours. A port of 0
// asks for the address alone, as CreatePermission does. Every host that the address
// may reach has to pass, so that no way to write a refused one gets by. A mapped
// address never passes: on the wire there is no such thing.
func (p *policy) admits(peer netip.AddrPort) bool {
	forms, n := formsOf(peer.Addr())
	for _, a := range forms[:n] {
		if p.isListener(a, peer.Port()) || a.Is4In6() ||
			!within(p.Allow, a) && (p.isLocal(a) || within(p.Deny, a)) {
			return false
		}
	}
	return true
}

// mayPermit judges an address for a permission, which has no port: the addresses
// of our own relays pass, and each packet is judged by admits again.
func (p *policy) mayPermit(addr netip.Addr, relayOnly bool) bool {
	if p.isRelayIP(addr) {
		return true
	}
	return !relayOnly && p.admits(netip.AddrPortFrom(addr, 0))
}

func within(list []netip.Prefix, addr netip.Addr) bool {
	for _, p := range list {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}
