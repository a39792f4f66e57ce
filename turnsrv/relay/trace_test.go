package relay

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pion/stun/v3"
)

const checker = "check.abc.3"

// traced returns a world in which one user is being checked; others are not.
func traced(t *testing.T, change ...func(*Options)) (*world, *caller) {
	w := newWorld(t, change...)
	for prefix, v := range map[string]Verdict{"1800003600:": Valid, "1700000000:": Expired, "1800003601:": Revoked} {
		w.keys[prefix+checker] = Login{Verdict: v, Passwords: []string{"old", "pw-" + checker}, User: checker, Traced: true}
	}
	return w, w.caller(checker, "11.22.33.101:1000")
}

// told is what the traces since the last look say, in short: kind, code, why and peer.
func (w *world) told() (out []string) {
	for _, t := range w.traces {
		words := []string{t.Kind.String()}
		if t.Username != "" {
			words = append(words, "named")
		}
		if t.Code != 0 {
			words = append(words, t.Method, itoa(t.Code))
		}
		if t.Why != "" {
			words = append(words, t.Why)
		}
		if t.Peer.IsValid() {
			words = append(words, t.Peer.String())
		}
		out = append(out, strings.Join(words, " "))
	}
	w.traces = nil
	return out
}

func itoa(n int) string {
	return string(rune('0'+n/100)) + string(rune('0'+n/10%10)) + string(rune('0'+n%10))
}

// Every way in which a check can end has its trace.
func TestTraces(t *testing.T) {
	own := func(o *Options) {
		o.Policy.Allow = prefixes("10.5.0.0/16")
		o.Policy.OwnAddrs = []netip.Addr{netip.MustParseAddr("11.22.33.11")}
	}
	limits := func(l Limits) func(*Options) { return func(o *Options) { o.Policy.Limits = l } }
	for _, c := range []struct {
		what   string
		change func(*Options)
		act    func(w *world, c *caller)
		want   []string // after the challenge, which every case begins with
	}{
		{"allocates, permits, binds", nil, func(w *world, c *caller) {
			c.mustAllocate()
			c.permit(peerA, peerB).want(0)
			c.bind(0x4000, peerA).want(0)
		}, []string{"permitted named 11.22.44.1:0", "permitted named 11.22.44.2:0", "permitted named 11.22.44.1:5000"}},
		{
			"wrong password", nil, func(w *world, c *caller) { c.password = "wrong"; c.allocate().want(401) },
			[]string{"refused named allocate 401 bad_password"},
		},
		{"another realm", nil, func(w *world, c *caller) {
			c.exchangeChallenge()
			c.realm = "elsewhere"
			c.exchange(c.message(stun.MethodAllocate, attrs{udpTransport})).want(401)
		}, []string{"refused named allocate 401 wrong_realm"}},
		{"expired, and the password was right", nil, func(w *world, c *caller) {
			c.username = "1700000000:" + checker
			c.allocate().want(401)
		}, []string{"refused named allocate 401 expired"}},
		{"expired and wrong", nil, func(w *world, c *caller) {
			c.username, c.password = "1700000000:"+checker, "wrong"
			c.allocate().want(401)
		}, []string{"refused named allocate 401 bad_password"}},
		{
			"revoked", nil, func(w *world, c *caller) { c.username = "1800003601:" + checker; c.allocate().want(401) },
			[]string{"refused named allocate 401 revoked"},
		},
		{"stale nonce", nil, func(w *world, c *caller) {
			c.mustAllocate()
			w.pass(11 * time.Minute / 2)
			c.refresh().want(0)
			w.pass(11 * time.Minute / 2)
			c.refresh().want(0) // after a 438
		}, []string{"refused named refresh 438 stale_nonce"}},
		{"quota of the user", limits(Limits{AllocationsPerUser: 1}), func(w *world, c *caller) {
			c.mustAllocate()
			w.told()
			w.caller(checker, "11.22.33.102:1").allocate().want(486)
		}, []string{"refused named allocate 486 user"}},
		{"quota of the address", limits(Limits{AllocationsPerIP: 1}), func(w *world, c *caller) {
			w.caller("alice", "11.22.33.101:7").mustAllocate()
			w.told()
			c.allocate().want(486)
		}, []string{"refused named allocate 486 address"}},
		{"quota of all", limits(Limits{Allocations: 1}), func(w *world, c *caller) {
			w.caller("alice", "11.22.33.109:7").mustAllocate()
			c.allocate().want(486)
		}, []string{"refused named allocate 486 total"}},
		{"too many in a short time", limits(Limits{AllocationsPerIP: 1}), func(w *world, c *caller) {
			for range 2 {
				c.mustAllocate()
				c.refresh(lifetime(0)).want(0)
			}
			c.allocate().want(486)
		}, []string{"refused named allocate 486 pace"}},
		{"no port is free", nil, func(w *world, c *caller) {
			w.fail = func(*Socket) error { return errors.New("no descriptors") }
			c.allocate().want(508)
		}, []string{"refused named allocate 508 ports"}},
		{
			"the server drains", func(o *Options) { o.Policy.Draining = true }, func(w *world, c *caller) { c.allocate().want(508) },
			[]string{"refused named allocate 508 draining"},
		},
		{"no such family", func(o *Options) { o.Policy.Relays = o.Policy.Relays[:1] }, func(w *world, c *caller) {
			c.allocate(raw(stun.AttrRequestedAddressFamily, 2, 0, 0, 0)).want(440)
		}, []string{"refused named allocate 440"}},
		{"a private peer", own, func(w *world, c *caller) {
			c.mustAllocate()
			c.permit(netip.MustParseAddrPort("10.1.2.3:9")).want(403)
			c.permit(netip.MustParseAddrPort("10.5.2.3:9")).want(0)
		}, []string{"refused named create_permission 403 deny 10.0.0.0/8 10.1.2.3:9", "permitted named 10.5.2.3:0"}},
		{"this machine as a peer", own, func(w *world, c *caller) {
			c.mustAllocate()
			c.permit(netip.MustParseAddrPort("11.22.33.11:9")).want(403)
		}, []string{"refused named create_permission 403 own_address 11.22.33.11:9"}},
		{"a peer of the other family", nil, func(w *world, c *caller) {
			c.mustAllocate()
			c.bind(0x4000, peerV6).want(443)
		}, []string{"refused named channel_bind 443 family [2a11:22:44::1]:5000"}},
	} {
		t.Run(c.what, func(t *testing.T) {
			var changes []func(*Options)
			if c.change != nil {
				changes = append(changes, c.change)
			}
			w, caller := traced(t, changes...)
			w.table.SetWatch([]netip.Addr{caller.client.Addr.Addr()})
			c.act(w, caller)
			got := w.told()
			got = slices.DeleteFunc(got, func(s string) bool { return s == "challenged allocate 401" })
			if !slices.Equal(got, c.want) {
				t.Errorf("told %q\nwant %q", got, c.want)
			}
		})
	}
}

// A restricted user's peer is refused for that, whatever the lists say.
func TestTraceOfARestrictedPeer(t *testing.T) {
	w, c := traced(t)
	login := w.keys["1800003600:"+checker]
	login.RelayOnly = true
	w.keys["1800003600:"+checker] = login
	c.mustAllocate()
	c.permit(peerA).want(403)
	if got := w.told(); !slices.Equal(got, []string{"refused named create_permission 403 relay_only 11.22.44.1:5000"}) {
		t.Errorf("told %q", got)
	}
}

// Before a client has a name it is traced by its address, or an IPv6 client by its /64,
// while somebody there runs a check; others are not, nor is anybody who names another
// user, at the same address too.
func TestNobodyElseIsTraced(t *testing.T) {
	w, _ := traced(t)
	binding := func(addr string) {
		c := w.caller("alice", addr)
		c.send(stun.MustBuild(stun.TransactionID, stun.BindingRequest).Raw)
	}
	w.table.SetWatch([]netip.Addr{netip.MustParseAddr("11.22.33.101"), netip.MustParseAddr("2a11:22:33:44::1")})
	binding("11.22.33.101:9")
	binding("[2a11:22:33:44::2]:9")
	if got := w.told(); !slices.Equal(got, []string{"bound", "bound"}) {
		t.Errorf("at the addresses of checks: %q", got)
	}
	binding("11.22.33.102:9")
	binding("[2a11:22:33:45::1]:9")
	alice := w.caller("alice", "11.22.33.101:1")
	alice.exchangeChallenge()
	w.told() // she had no name yet
	alice.mustAllocate()
	alice.permit(peerA).want(0)
	alice.permit(netip.MustParseAddrPort("10.1.2.3:9")).want(403)
	alice.password = "wrong"
	w.caller("alice", "11.22.33.101:2").exchangeChallenge()
	w.told()
	bad := w.caller("alice", "11.22.33.101:3")
	bad.exchangeChallenge()
	w.told()
	bad.password = "wrong"
	bad.exchange(bad.message(stun.MethodAllocate, attrs{udpTransport})).want(401)
	if got := w.told(); len(got) != 0 {
		t.Errorf("told of others: %q", got)
	}
	w.table.SetWatch(nil)
	binding("11.22.33.101:9")
	if got := w.told(); len(got) != 0 {
		t.Errorf("told when no check runs: %q", got)
	}
}

// Limits keep the server silent, and the trace says which one.
func TestTraceOfSilence(t *testing.T) {
	w, c := traced(t, func(o *Options) {
		o.Policy.Limits = Limits{Binding: Rate{1, time.Minute}, Unauthenticated: Rate{1, time.Minute}, FailedLogins: Rate{1, time.Minute}}
	})
	w.table.SetWatch([]netip.Addr{c.client.Addr.Addr()})
	for range 3 {
		c.send(stun.MustBuild(stun.TransactionID, stun.BindingRequest).Raw)
	}
	c.exchangeChallenge()
	for range 2 {
		c.send(stun.MustBuild(stun.TransactionID, stun.NewType(stun.MethodAllocate, stun.ClassRequest), udpTransport).Raw)
	}
	c.password = "wrong"
	for range 3 {
		c.send(c.message(stun.MethodAllocate, attrs{udpTransport}).Raw)
	}
	want := []string{
		"bound", "bound", "silenced binding_limited",
		"challenged allocate 401", "challenged allocate 401", "silenced rate_limited",
		"refused named allocate 401 bad_password", "refused named allocate 401 bad_password", "silenced named login_limited",
	}
	if got := w.told(); !slices.Equal(got, want) {
		t.Errorf("told %q\nwant %q", got, want)
	}
}

// What a check relays is looked up, not told: the data path does nothing for it.
func TestTracedAllocations(t *testing.T) {
	w, c := traced(t)
	w.caller("alice", "11.22.33.102:1").mustAllocate()
	c.mustAllocate()
	c.bind(0x4000, peerA).want(0)
	c.channelData(0x4000, "hello")
	list := w.table.Traced()
	if len(list) != 1 || list[0].User != checker || list[0].SentBytes != 5 || list[0].ReceivedBytes != 0 {
		t.Errorf("%+v", list)
	}
	c.refresh(lifetime(0)).want(0)
	if list := w.table.Traced(); len(list) != 0 {
		t.Errorf("after the end: %+v", list)
	}
}
