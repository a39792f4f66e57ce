package relay

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/pion/stun/v3"
)

// outcome is the count of a metric with one label.
func (w *world) outcome(name, value string) (n uint64) {
	w.totals.Each(func(m Metric) {
		if m.Name == name && m.Labels[0].Value == value {
			n += m.Value
		}
	})
	return n
}

// TestOutcomes: what a request came to counts once, under the word that an operator
// looks for, and nothing else counts.
func TestOutcomes(t *testing.T) {
	relayOnly := func(w *world) {
		w.keys["1800003600:r.eve"] = Login{Verdict: Valid, Passwords: []string{"pw-r.eve"}, User: "r.eve", RelayOnly: true}
	}
	for _, c := range []struct {
		name, value string
		limits      Limits
		run         func(w *world, c *caller)
	}{
		{name: "auth_failures", value: "bad_password", run: func(_ *world, c *caller) {
			c.password = "guess"
			c.allocate().want(401)
		}},
		{name: "auth_failures", value: "expired", run: func(_ *world, c *caller) {
			c.username = "1700000000:alice"
			c.allocate().want(401)
		}},
		{name: "auth_failures", value: "revoked", run: func(w *world, c *caller) {
			w.keys[c.username] = Login{Verdict: Revoked, Passwords: []string{"pw-alice"}, User: "alice"}
			c.allocate().want(401)
		}},
		{name: "auth_failures", value: "malformed", run: func(_ *world, c *caller) {
			c.username = "alice"
			c.allocate().want(401)
		}},
		{name: "auth_failures", value: "malformed", run: func(_ *world, c *caller) {
			c.username, c.useHash = "1800003600:nobody", true
			c.allocate().want(401)
		}},
		{name: "auth_failures", value: "wrong_realm", run: func(_ *world, c *caller) {
			c.allocate().want(0)
			c.realm = "elsewhere.example.org"
			c.exchange(c.message(stun.MethodRefresh, nil)).want(401)
		}},
		{name: "auth_failures", value: "stale_nonce", run: func(w *world, c *caller) {
			c.allocate().want(0)
			w.pass(2 * time.Hour)
			c.exchange(c.message(stun.MethodAllocate, attrs{udpTransport})).want(438)
		}},
		{name: "quota_rejections", value: "user", limits: Limits{AllocationsPerUser: 1}, run: func(w *world, c *caller) {
			c.allocate().want(0)
			w.caller("alice", "11.22.33.102:1000").allocate().want(486)
		}},
		{name: "quota_rejections", value: "address", limits: Limits{AllocationsPerIP: 1}, run: func(w *world, c *caller) {
			c.allocate().want(0)
			w.caller("bob", "11.22.33.101:1001").allocate().want(486)
		}},
		{name: "quota_rejections", value: "total", limits: Limits{Allocations: 1}, run: func(w *world, c *caller) {
			c.allocate().want(0)
			w.caller("bob", "11.22.33.102:1000").allocate().want(486)
		}},
		{name: "quota_rejections", value: "pace", limits: Limits{AllocationsPerIP: 1}, run: func(_ *world, c *caller) {
			for code, n := 0, 0; code == 0; n++ {
				if n > 100 {
					c.w.t.Fatal("an address makes as many allocations as it likes")
				}
				got := c.allocate()
				if code = got.code; code == 0 {
					c.refresh(lifetime(0)).want(0)
				}
			}
		}},
		{name: "permission_denied", value: "deny", run: func(_ *world, c *caller) {
			c.mustAllocate()
			c.permit(netip.MustParseAddrPort("10.1.2.3:9")).want(403)
		}},
		{name: "permission_denied", value: "own_address", run: func(_ *world, c *caller) {
			c.mustAllocate()
			c.permit(netip.MustParseAddrPort("127.0.0.1:9")).want(403)
		}},
		{name: "permission_denied", value: "own_listener", run: func(_ *world, c *caller) {
			c.mustAllocate()
			c.bind(0x4000, netip.MustParseAddrPort("11.22.33.9:3478")).want(403)
		}},
		{name: "permission_denied", value: "relay_only", run: func(w *world, _ *caller) {
			relayOnly(w)
			c := w.caller("r.eve", "11.22.33.103:1000")
			c.mustAllocate()
			c.permit(peerA).want(403)
		}},
		{name: "bindings", value: "udp", run: func(_ *world, c *caller) {
			c.unsigned = true
			c.request(stun.MethodBinding).want(0)
		}},
		{name: "bindings", value: "tls", run: func(w *world, _ *caller) {
			c := w.connected("alice", "11.22.33.101:1000", TLS)
			c.unsigned = true
			c.request(stun.MethodBinding).want(0)
		}},
	} {
		t.Run(c.name+" "+c.value, func(t *testing.T) {
			w := newWorld(t, func(o *Options) {
				o.Policy.Limits = c.limits
				o.Policy.Own = append(o.Policy.Own, netip.MustParseAddrPort("11.22.33.9:3478"))
			})
			c.run(w, w.caller("alice", "11.22.33.101:1000"))
			if n := w.outcome(c.name, c.value); n != 1 {
				t.Errorf("%s %s is %d, want 1", c.name, c.value, n)
			}
			for o, m := range outcomeMetrics {
				if n := w.totals.outcomes[o].Load(); n != 0 && (m.Name != c.name || m.Labels[0].Value != c.value) {
					t.Errorf("%s %s is %d too", m.Name, m.Labels[0].Value, n)
				}
			}
		})
	}
}

// TestPopulation: live allocations are counted by what they have, and a dual one that
// gives a family back is counted anew.
func TestPopulation(t *testing.T) {
	w := newWorld(t)
	want := func(step, want string) {
		t.Helper()
		var got []string
		total := 0
		for _, p := range w.table.Population() {
			if p.Created > 0 || p.Live != 0 {
				got = append(got, fmt.Sprintf("%v/%s %d of %d", p.Transport, p.Family, p.Live, p.Created))
			}
			total += p.Live
		}
		if s := strings.Join(got, ", "); s != want {
			t.Errorf("%s: %s; want %s", step, s, want)
		}
		if total != w.table.Len() {
			t.Errorf("%s: %d are live, the table has %d", step, total, w.table.Len())
		}
	}
	want("nobody", "")
	a := w.caller("alice", "11.22.33.101:1000")
	a.mustAllocate()
	want("one", "udp/ipv4 1 of 1")
	b := w.connected("bob", "11.22.33.102:1000", TCP)
	b.mustAllocate(raw(attrAdditionalAddressFamily, 2, 0, 0, 0))
	want("a dual one", "udp/ipv4 1 of 1, tcp/dual 1 of 1")
	b.refresh(lifetime(0), raw(stun.AttrRequestedAddressFamily, 1, 0, 0, 0)).want(0)
	want("half of it is gone", "udp/ipv4 1 of 1, tcp/ipv6 1 of 0, tcp/dual 0 of 1")
	a.refresh(lifetime(0)).want(0)
	want("released", "udp/ipv4 0 of 1, tcp/ipv6 1 of 0, tcp/dual 0 of 1")
	w.pass(time.Hour)
	want("expired", "udp/ipv4 0 of 1, tcp/dual 0 of 1")

	w.fail = func(*Socket) error { return fmt.Errorf("no") }
	w.caller("alice", "11.22.33.101:1001").allocate().want(508)
	want("one that could not be made", "udp/ipv4 0 of 1, tcp/dual 0 of 1")
}

// TestPortUse: a port is used, then rests, then is free, and none gets lost on the way.
func TestPortUse(t *testing.T) {
	w := newWorld(t)
	want := func(step string, want ...PortUse) {
		t.Helper()
		if got := w.table.Ports(w.now); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %v, want %v", step, got, want)
		}
	}
	idle6 := PortUse{"ipv6", 0, 0, 100}
	want("idle", PortUse{"ipv4", 0, 0, 100}, idle6)
	c := w.caller("alice", "11.22.33.101:1000")
	c.mustAllocate()
	want("in use", PortUse{"ipv4", 1, 0, 99}, idle6)
	c.refresh(lifetime(0)).want(0)
	want("resting", PortUse{"ipv4", 0, 1, 99}, idle6)
	w.now.Mono += defaultPortRest
	want("free", PortUse{"ipv4", 0, 0, 100}, idle6)

	c.mustAllocate()
	p := w.table.Policy()
	p.Relays, p.MinPort, p.MaxPort = p.Relays[:1], 51000, 51009
	w.table.SetPolicy(p)
	want("another range: the old one counts as long as it is used", PortUse{"ipv4", 1, 0, 10})
}
