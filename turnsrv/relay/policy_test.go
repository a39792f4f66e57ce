package relay

import (
	crand "crypto/rand"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

// encoding is one way to write an IPv4 address as an IPv6 one that reaches it.
type encoding struct {
	name   string
	prefix [16]byte
	at     [4]int // where the bytes go
	invert bool
}

var encodings = func() (list []encoding) {
	add := func(name, prefix string, invert bool, at ...int) {
		list = append(list, encoding{name, netip.MustParseAddr(prefix).As16(), [4]int(at), invert})
	}
	add("mapped", "::ffff:0:0", false, 12, 13, 14, 15)
	add("compatible", "::", false, 12, 13, 14, 15)
	add("NAT64", "64:ff9b::", false, 12, 13, 14, 15)
	add("local NAT64 /48", "64:ff9b:1::", false, 6, 7, 9, 10)
	add("local NAT64 /56", "64:ff9b:1::", false, 7, 9, 10, 11)
	add("local NAT64 /64", "64:ff9b:1::", false, 9, 10, 11, 12)
	add("local NAT64 /96", "64:ff9b:1::", false, 12, 13, 14, 15)
	add("6to4", "2002::", false, 2, 3, 4, 5)
	add("6to4 with a subnet and a host", "2002:0:0:7:8000::1", false, 2, 3, 4, 5)
	add("Teredo", "2001:0:102:304:8000:c350::", true, 12, 13, 14, 15)
	return list
}()

func (e encoding) of(v4 netip.Addr) netip.Addr {
	a := e.prefix
	for i, b := range v4.As4() {
		if e.invert {
			b = ^b
		}
		a[e.at[i]] = b
	}
	return netip.AddrFrom16(a)
}

// ambiguous tells that an address of this encoding may be read as another IPv4 host
// too, and that one decides as well.
func (e encoding) ambiguous() bool { return nat64Local.Contains(netip.AddrFrom16(e.prefix)) }

// A million hosts under a thousand policies: each is admitted or refused, however its address
// is written. Beside that a mapped address never passes, and a
// list that refuses a transition prefix refuses it.
func TestEveryEncodingHasOneVerdict(t *testing.T) {
	t.Parallel()
	const policies, addresses = 1000, 1000
	r := rand.New(rand.NewPCG(7, 7))
	addr := func() netip.Addr {
		most := 16 // what the lists are about
		if r.IntN(2) == 0 {
			most = 255 // any; 0.0.0.0/8 has no hosts
		}
		return netip.AddrFrom4([4]byte{byte(1 + r.IntN(most)), byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32())})
	}
	list := func(n int) (out []netip.Prefix) {
		for range n {
			p, _ := addr().Prefix(1 + r.IntN(24))
			out = append(out, p)
		}
		return out
	}
	var admitted, refused int
	for range policies {
		p := Policy{Deny: list(1 + r.IntN(4)), Allow: list(r.IntN(3)), OwnAddrs: []netip.Addr{addr()}}
		switch r.IntN(8) {
		case 0:
			p.Deny = nil // the recommended one
		case 1:
			p.Own = []netip.AddrPort{netip.AddrPortFrom(netip.IPv4Unspecified(), 9)}
		}
		c := compile(p, nil)
		for range addresses {
			v4 := addr()
			if r.IntN(100) == 0 {
				v4 = p.OwnAddrs[0]
			}
			want := c.admits(netip.AddrPortFrom(v4, 9))
			if want {
				admitted++
			} else {
				refused++
			}
			for _, e := range encodings {
				a := e.of(v4)
				got := c.admits(netip.AddrPortFrom(a, 9))
				strict := p.Deny == nil || e.name == "mapped" || e.ambiguous()
				if got && !want || want && !got && !strict {
					t.Fatalf("%v is admitted: %v; as %s, %v: %v\n%+v", v4, want, e.name, a, got, p)
				}
			}
		}
	}
	if admitted < policies*addresses/10 || refused < policies*addresses/10 {
		t.Errorf("%d admitted, %d refused: too one-sided to show much", admitted, refused)
	}
}

// Whoever admits a transition prefix opens no way to the hosts that stay refused.
func TestAllowedTransitionPrefixOpensNoRefusedHost(t *testing.T) {
	p := compile(Policy{Allow: prefixes("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32", "::/96", "::ffff:0:0/96")}, nil)
	for _, e := range encodings {
		for host, want := range map[string]bool{
			"10.1.2.3": false, "127.0.0.1": false, "169.254.169.254": false, "192.168.1.1": false, "9.9.9.9": e.name != "mapped",
		} {
			a := e.of(netip.MustParseAddr(host))
			if got := p.admits(netip.AddrPortFrom(a, 9)); got != want {
				t.Errorf("%s as %s, %v: admitted %v", host, e.name, a, got)
			}
		}
	}
}

// Without any list this machine is still no peer, by none of its loopback names; and
// where those are admitted, a listener on all addresses still is none.
func TestLoopbackIsThisMachine(t *testing.T) {
	loopback := []string{"127.0.0.1", "127.0.0.2", "127.255.255.254", "0.0.0.0", "::", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1"}
	open := compile(Policy{Deny: []netip.Prefix{}}, nil)
	all := netip.AddrPortFrom(netip.IPv4Unspecified(), 3478)
	allowed := compile(Policy{Own: []netip.AddrPort{all}, Allow: prefixes("0.0.0.0/0", "::/0")}, nil)
	for _, s := range loopback {
		a := netip.MustParseAddr(s)
		if open.admits(netip.AddrPortFrom(a, 9)) {
			t.Errorf("%s is admitted without a list", s)
		}
		if allowed.admits(netip.AddrPortFrom(a, 3478)) {
			t.Errorf("%s leads to our own listener", s)
		}
		if !a.Is4In6() && !allowed.admits(netip.AddrPortFrom(a, 3479)) {
			t.Errorf("%s is not admitted though it is allowed", s)
		}
	}
}

func TestRecommendedDeny(t *testing.T) {
	p := compile(Policy{}, nil)
	for addr, want := range map[string]bool{
		"0.0.0.0": false, "10.1.2.3": false, "100.64.0.1": false, "127.0.0.1": false, "169.254.169.254": false,
		"172.16.0.1": false, "172.32.0.1": true, "192.168.1.1": false, "224.0.0.1": false, "255.255.255.255": false,
		"::": false, "::1": false, "::ffff:127.0.0.2": false, "fe80::1": false, "fd00:ec2::254": false, "ff02::1": false,
		"2001:db8::1": false, "2001::1": false, "fec0::1": false, "fe80::1%eth0": false,
		"8.8.8.8": true, "2606:4700::1111": true, "2a11:22:33::1": true,
	} {
		if got := p.admits(netip.AddrPortFrom(netip.MustParseAddr(addr), 9)); got != want {
			t.Errorf("%s admitted: %v, want %v", addr, got, want)
		}
	}
}

// registries are the prefixes that IANA's registries call special (IPv4, IPv6: not globally
// reachable, or for other than unicast between hosts), and those that once were special.
var registries = []string{
	"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24",
	"192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15",
	"198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
	"::/128", "::1/128", "::/96", "::ffff:0:0/104", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "100:0:0:1::/64", "2001::/23",
	"2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8",
}

// TestTheRegistriesAreRefused: of each of them the first address and the last.
func TestTheRegistriesAreRefused(t *testing.T) {
	p := compile(Policy{}, nil)
	for _, s := range registries {
		prefix := netip.MustParsePrefix(s)
		last := prefix.Addr().AsSlice()
		for i := prefix.Bits(); i < 8*len(last); i++ {
			last[i/8] |= 0x80 >> (i % 8)
		}
		end, _ := netip.AddrFromSlice(last)
		for _, addr := range []netip.Addr{prefix.Addr(), end} {
			if p.admits(netip.AddrPortFrom(addr, 9)) {
				t.Errorf("%v of %s is admitted", addr, s)
			}
		}
	}
}

func TestDefaults(t *testing.T) {
	p := Policy{}.withDefaults()
	if p.MinPort != 49152 || p.MaxPort != 65535 || p.PortRest != 2*time.Minute || len(p.Deny) == 0 {
		t.Errorf("%+v", p)
	}
	w := newWorld(t, func(o *Options) { o.Rand = nil })
	if w.table.rand.(*lockedReader).r != crand.Reader {
		t.Error("ports and tokens do not come from crypto/rand")
	}
	if l := p.Limits; l.AllocationsPerUser != 16 || l.AllocationsPerIP != 64 || l.Allocations != -1 || l.Permissions != 128 ||
		l.Channels != 64 || l.Bandwidth != 20e6 || l.Packets != -1 || l.Unauthenticated != (Rate{10, time.Second}) {
		t.Errorf("%+v", l)
	}
	if p := (Policy{PortRest: -1, Deny: []netip.Prefix{}}).withDefaults(); p.PortRest != -1 || len(p.Deny) != 0 {
		t.Errorf("an explicit none is overruled: %+v", p)
	}
}

func TestPortsAreUniform(t *testing.T) {
	const ports, draws = 100, 100000
	var hits [ports]int
	s := portSpace{rand: rand.NewChaCha8([32]byte{5})}
	r := portRange{relayV4, 50000, 50000 + ports - 1}
	for i := range draws {
		now := time.Duration(i)
		pool, port, ok := s.take(now, r, anyPort)
		if !ok {
			t.Fatal("no port")
		}
		hits[port-50000]++
		s.release(pool, port, now)
	}
	var chi float64
	for _, h := range hits {
		d := float64(h) - draws/ports
		chi += d * d / (draws / ports)
	}
	if chi > 149 { // p = 0.001 at 99 degrees of freedom; the source is seeded
		t.Errorf("χ² = %.1f: %v", chi, hits)
	}
}
