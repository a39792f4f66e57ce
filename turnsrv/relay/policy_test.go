package relay

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

// encodings are all ways to write an IPv4 address as an IPv6 one that reaches it.
func encodings(v4 netip.Addr) map[string]netip.Addr {
	b := v4.As4()
	at := func(prefix string, pos int, invert bool) netip.Addr {
		a := netip.MustParseAddr(prefix).As16()
		for i := range b {
			a[pos+i] = b[i]
			if invert {
				a[pos+i] = ^b[i]
			}
		}
		return netip.AddrFrom16(a)
	}
	return map[string]netip.Addr{
		"mapped": at("::ffff:0:0", 12, false), "compatible": at("::", 12, false), "NAT64": at("64:ff9b::", 12, false),
		"local NAT64": at("64:ff9b:1::", 12, false), "6to4": at("2002::", 2, false), "Teredo": at("2001::", 12, true),
	}
}

func TestNoEncodingPassesTheDenyList(t *testing.T) {
	// A list of one odd prefix, so that only the canonical form can catch it.
	for _, deny := range [][]netip.Prefix{nil, prefixes("11.99.0.0/16", "9.0.0.0/8")} {
		p := compile(Policy{Deny: deny}, nil)
		r := rand.New(rand.NewPCG(7, 7))
		for range 50000 {
			v4 := netip.AddrFrom4([4]byte{byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32())})
			if r.IntN(2) == 0 {
				v4 = netip.AddrFrom4([4]byte{11, 99, byte(r.Uint32()), byte(r.Uint32())})
			}
			if p.admits(netip.AddrPortFrom(v4, 9)) {
				continue
			}
			for name, a := range encodings(v4) {
				if p.admits(netip.AddrPortFrom(a, 9)) {
					t.Fatalf("%v is denied, but as %s it passes: %v", v4, name, a)
				}
			}
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

func TestDefaults(t *testing.T) {
	p := Policy{}.withDefaults()
	if p.MinPort != 49152 || p.MaxPort != 65535 || p.PortRest != 2*time.Minute || len(p.Deny) == 0 {
		t.Errorf("%+v", p)
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
