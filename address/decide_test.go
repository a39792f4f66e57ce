package address

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func addrs(list ...string) (out []netip.Addr) {
	for _, s := range list {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

func machine(routes string, more ...string) Machine {
	m := Machine{Routes: addrs(strings.Fields(routes)...)}
	m.Addrs = append(addrs("127.0.0.1", "::1", "fe80::1"), append(addrs(more...), m.Routes...)...)
	return m
}

// claims reads "stun a 203.0.113.5, metadata AWS 203.0.113.6".
func claims(text string) (out []Claim) {
	for part := range strings.SplitSeq(text, ", ") {
		if f := strings.Fields(part); len(f) == 3 {
			out = append(out, Claim{Source(f[0]), f[1], netip.MustParseAddr(f[2])})
		}
	}
	return out
}

// lines tells a decision in a line for each address, the error and the notes.
func (d Decision) lines() (out []string) {
	for _, a := range d.Addresses {
		out = append(out, fmt.Sprintf("%s (%s) at %s, %s", a.Public, a.Why, a.Local, a.Source))
	}
	if d.Asking {
		out = append(out, "asking")
	}
	if d.Err != nil {
		out = append(out, "error "+d.Err.Error())
	}
	for _, n := range d.Notes {
		out = append(out, "note "+n)
	}
	return out
}

func TestDecide(t *testing.T) {
	auto := Wish{Auto: true}
	asking := Wish{Auto: true, Discover: true}
	noted := "note nobody could tell the public address: "
	for _, c := range []struct {
		name string
		wish Wish
		fact Facts
		want []string
	}{
		{
			"a public address of this machine is all there is to know", asking,
			Facts{Machine: machine("11.22.33.5 2a11::5"), Claims: claims("stun a 203.0.113.5, stun b 203.0.113.5"), Asked: true},
			[]string{"11.22.33.5 (default route) at 11.22.33.5, interface", "2a11::5 (default route) at 2a11::5, interface"},
		},
		{
			"a public address beside the default route's private one", asking,
			Facts{Machine: machine("10.0.0.5", "11.22.33.5"), Asked: true},
			[]string{"11.22.33.5 (an interface) at 11.22.33.5, interface"},
		},
		{
			"nobody is asked: the local address", auto,
			Facts{Machine: machine("10.0.0.5 fd00::5"), Claims: claims("stun a 203.0.113.5, stun b 203.0.113.5, metadata AWS 203.0.113.5")},
			[]string{"10.0.0.5 (default route) at 10.0.0.5, local", "fd00::5 (default route) at fd00::5, local"},
		},
		{"no network", auto, Facts{Machine: machine("")}, []string{"127.0.0.1 (loopback: this machine has no other address) at 127.0.0.1, local"}},
		{"no network, nobody to ask", asking, Facts{Machine: machine("")}, []string{"127.0.0.1 (loopback: this machine has no other address) at 127.0.0.1, local"}},
		{"before the first answers", asking, Facts{Machine: machine("10.0.0.5")}, []string{"10.0.0.5 (default route) at 10.0.0.5, local", "asking"}},
		{
			"two STUN servers agree", asking,
			Facts{Machine: machine("10.0.0.5"), Claims: claims("stun a 203.0.113.5, stun c 203.0.113.6, stun b 203.0.113.5"), Asked: true},
			[]string{"203.0.113.5 (a and b agree, NATed to 10.0.0.5) at 10.0.0.5, stun"},
		},
		{
			"two against two", asking,
			Facts{Machine: machine("10.0.0.5"), Claims: claims("stun a 203.0.113.5, stun b 203.0.113.6, stun c 203.0.113.5, stun d 203.0.113.6"), Asked: true},
			[]string{
				"10.0.0.5 (default route) at 10.0.0.5, local",
				noted + "a says 203.0.113.5, and no second server agrees; b says 203.0.113.6, and no second server agrees; " +
					"c says 203.0.113.5, and no second server agrees; d says 203.0.113.6, and no second server agrees",
			},
		},
		{
			"one STUN server alone", asking,
			Facts{Machine: machine("10.0.0.5"), Claims: claims("stun a 203.0.113.5"), Asked: true, Silent: []string{"b did not answer"}},
			[]string{"10.0.0.5 (default route) at 10.0.0.5, local", noted + "a says 203.0.113.5, and no second server agrees; b did not answer"},
		},
		{
			"what is not public is not believed", asking,
			Facts{Machine: machine("10.0.0.5"), Claims: claims("metadata AWS 10.1.1.1, stun a 100.64.0.1, stun b 100.64.0.1, stun c 192.168.1.1"), Asked: true},
			[]string{
				"10.0.0.5 (default route) at 10.0.0.5, local",
				noted + "a says 100.64.0.1, which is not public; b says 100.64.0.1, which is not public; c says 192.168.1.1, which is not public",
			},
		},
		{
			"the cloud knows before strangers do", asking,
			Facts{Machine: machine("10.0.0.5"), Claims: claims("stun a 203.0.113.5, stun b 203.0.113.5, metadata AWS 203.0.113.9, metadata OpenStack 203.0.113.9"), Asked: true},
			[]string{"203.0.113.9 (metadata of AWS, NATed to 10.0.0.5) at 10.0.0.5, metadata"},
		},
		{
			"both families, each by itself", asking,
			Facts{Machine: machine("10.0.0.5 2a11::5"), Claims: claims("stun a 203.0.113.5, stun b 203.0.113.5"), Asked: true},
			[]string{"203.0.113.5 (a and b agree, NATed to 10.0.0.5) at 10.0.0.5, stun", "2a11::5 (default route) at 2a11::5, interface"},
		},
		{
			"IPv6 behind a NAT", asking,
			Facts{Machine: machine("11.22.33.5 fd00::5"), Claims: claims("stun a 2a11::9, stun b 2a11::9"), Asked: true},
			[]string{"11.22.33.5 (default route) at 11.22.33.5, interface", "2a11::9 (a and b agree, NATed to fd00::5) at fd00::5, stun"},
		},
		{
			"the router that forwards our ports", auto,
			Facts{Machine: machine("192.168.1.5"), Claims: claims("gateway NAT-PMP 203.0.113.5")},
			[]string{"203.0.113.5 (NAT-PMP has it, NATed to 192.168.1.5) at 192.168.1.5, gateway"},
		},
		{
			"a router behind the provider's NAT", asking,
			Facts{Machine: machine("192.168.1.5"), Claims: claims("stun a 203.0.113.5, stun b 203.0.113.5, gateway NAT-PMP 100.64.3.4"), Asked: true},
			[]string{
				"203.0.113.5 (a and b agree, NATed to 192.168.1.5) at 192.168.1.5, stun",
				"note NAT-PMP has itself only 100.64.3.4, behind the provider's NAT (CGNAT): nobody outside reaches a relay here, whatever it forwards; use a server with a public address, or IPv6",
			},
		},
		{
			"what is written wins over everything",
			Wish{Auto: true, Discover: true, Addrs: addrs("198.51.100.7")},
			Facts{Machine: machine("10.0.0.5 2a11::5"), Claims: claims("metadata AWS 203.0.113.9"), Asked: true},
			[]string{"198.51.100.7 (turn.external_ip, NATed to 10.0.0.5) at 10.0.0.5, configuration", "2a11::5 (default route) at 2a11::5, interface"},
		},
		{"a written address of ours", Wish{Addrs: addrs("10.0.0.5")}, Facts{Machine: machine("10.0.0.4", "10.0.0.5")}, []string{"10.0.0.5 (turn.external_ip) at 10.0.0.5, configuration"}},
		{
			"a written address without its family",
			Wish{Addrs: addrs("2a11::7")},
			Facts{Machine: machine("10.0.0.5")},
			[]string{"error turn.external_ip: 2a11::7: this machine has no address of its family"},
		},
		{
			"a name",
			Wish{Auto: true, Names: []string{"home"}},
			Facts{Machine: machine("10.0.0.5"), Names: map[string]Named{"home": {Addrs: addrs("2a11::7", "203.0.113.5", "203.0.113.6")}}},
			[]string{"203.0.113.5 (dns:home, NATed to 10.0.0.5) at 10.0.0.5, dns"},
		},
		{
			"a name that can no longer be looked up",
			Wish{Names: []string{"home"}},
			Facts{Machine: machine("10.0.0.5"), Names: map[string]Named{"home": {Addrs: addrs("203.0.113.5"), Err: errors.New("timeout")}}},
			[]string{"203.0.113.5 (dns:home, NATed to 10.0.0.5) at 10.0.0.5, dns", "error turn.external_ip: timeout"},
		},
		{
			"several relay addresses, one of them absent, and the other family found",
			Wish{Auto: true, Relays: []Pair{{addrs("11.22.33.5")[0], addrs("11.22.33.5")[0]}, {addrs("10.0.0.6")[0], addrs("203.0.113.6")[0]}, {addrs("10.0.0.7")[0], addrs("203.0.113.7")[0]}}},
			Facts{Machine: Machine{Addrs: addrs("11.22.33.5", "2a11::5"), Bound: addrs("10.0.0.6", "11.22.33.5")}},
			[]string{
				"11.22.33.5 (turn.relay_ips) at 11.22.33.5, configuration", "203.0.113.6 (turn.relay_ips, NATed to 10.0.0.6) at 10.0.0.6, configuration",
				"2a11::5 (an interface) at 2a11::5, interface", "note turn.relay_ips: 10.0.0.7: not an address of this machine, so it is left out",
			},
		},
		{
			"no relay address is here",
			Wish{Auto: true, Relays: []Pair{{addrs("10.0.0.6")[0], addrs("203.0.113.6")[0]}}},
			Facts{Machine: machine("11.22.33.5")},
			[]string{"error turn.relay_ips: 10.0.0.6: not an address of this machine"},
		},
		{"nothing is wished for", Wish{}, Facts{Machine: machine("11.22.33.5")}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := Decide(c.wish, c.fact)
			if diff := cmp.Diff(c.want, got.lines()); diff != "" {
				t.Error(diff)
			}
			if !got.Equal(Decide(c.wish, c.fact)) {
				t.Error("the same facts, another decision")
			}
		})
	}
}

func TestWhatIsPublic(t *testing.T) {
	for addr, want := range map[string]bool{
		"11.22.33.44": true, "2a11::1": true, "198.51.100.7": true, // documentation may be meant
		"10.0.0.1": false, "172.16.0.1": false, "192.168.0.1": false, "100.64.0.1": false, "100.127.255.255": false, "100.128.0.1": true,
		"127.0.0.1": false, "169.254.1.1": false, "192.0.0.2": false, "198.18.0.1": false, "240.0.0.1": false, "0.0.0.0": false,
		"fd00::1": false, "fe80::1": false, "::1": false, "::ffff:11.22.33.44": false, "224.0.0.1": false,
	} {
		if got := IsPublic(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s public: %v", addr, got)
		}
	}
}

// Others are asked only for a family of which this machine has a private address and
// nothing is written.
func TestWhomToAsk(t *testing.T) {
	w := Wish{Auto: true, Discover: true}
	for _, c := range []struct {
		name   string
		change func(*Wish)
		m      Machine
		want   [2]bool
	}{
		{"both", nil, machine("10.0.0.5 fd00::5"), [2]bool{true, true}},
		{"one is public", nil, machine("10.0.0.5 2a11::5"), [2]bool{true, false}},
		{"another interface is public", nil, machine("10.0.0.5", "11.22.33.5"), [2]bool{}},
		{"no network", nil, machine(""), [2]bool{}},
		{"not wished for", func(w *Wish) { w.Discover = false }, machine("10.0.0.5"), [2]bool{}},
		{"not auto", func(w *Wish) { w.Auto = false }, machine("10.0.0.5"), [2]bool{}},
		{"written", func(w *Wish) { w.Addrs = addrs("203.0.113.5") }, machine("10.0.0.5 fd00::5"), [2]bool{false, true}},
		{"relay addresses", func(w *Wish) { w.Relays = []Pair{{addrs("10.0.0.5")[0], addrs("10.0.0.5")[0]}} }, machine("10.0.0.5 fd00::5"), [2]bool{false, true}},
	} {
		w := w
		if c.change != nil {
			c.change(&w)
		}
		if got := w.asks(c.m); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}
