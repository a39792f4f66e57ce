package turnsrv

import (
	"bytes"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/stun/v3"

	"rtcd/creds"
	"rtcd/turnsrv/relay"
)

// The gate counts strangers per IPv4 address and IPv6 /64, strangers, and all.
func TestGate(t *testing.T) {
	g := gate{limits: Limits{ConnectionsPerIP: 2, Unauthenticated: 3, AllPerIP: 3, Connections: 5}}
	ip := netip.MustParseAddr
	steps := []struct {
		do   string
		ip   netip.Addr
		want string
	}{
		{"enter", ip("2001:db8::1"), ""},
		{"enter", ip("2001:db8::2"), ""},
		{"enter", ip("2001:db8::3"), refusedPerIP},
		{"enter", ip("2001:db8:0:1::1"), ""},
		{"enter", ip("192.0.2.1"), refusedAnonymous},
		{"authenticated", ip("2001:db8::1"), ""},
		{"enter", ip("192.0.2.1"), ""},
		{"enter", ip("192.0.2.1"), refusedAnonymous},
		{"authenticated", ip("192.0.2.1"), ""},
		{"enter", ip("::ffff:192.0.2.1"), ""},
		{"enter", ip("192.0.2.1"), refusedAll},
		{"leave", ip("2001:db8::2"), ""},
		{"enter", ip("192.0.2.1"), ""},
		{"enter", ip("192.0.2.9"), refusedAll},
	}
	for i, s := range steps {
		got := ""
		switch s.do {
		case "enter":
			got = g.enter(s.ip)
		case "authenticated":
			g.authenticated(s.ip)
		case "leave":
			g.leave(s.ip, false)
		}
		if got != s.want {
			t.Errorf("step %d, %s %v: %q, want %q", i, s.do, s.ip, got, s.want)
		}
	}
}

// An address that authenticates each of its connections cannot take all places.
func TestGateCapsUsersToo(t *testing.T) {
	o, err := Options{Limits: Limits{ConnectionsPerIP: 2, Connections: 40}}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	g, ip := gate{limits: o.Limits}, netip.MustParseAddr("192.0.2.1")
	for range 5 {
		if why := g.enter(ip); why != "" {
			t.Fatalf("refused: %s", why)
		}
		g.authenticated(ip)
	}
	if why := g.enter(ip); why != refusedCaller {
		t.Errorf("the sixth of 40 places: %q, want %q", why, refusedCaller)
	}
	if why := g.enter(netip.MustParseAddr("192.0.2.2")); why != "" {
		t.Errorf("another address: %q", why)
	}
	g.leave(netip.MustParseAddr("192.0.2.2"), false)
	for range 5 {
		g.leave(ip, true)
	}
	if len(g.callers) != 0 || g.all != 0 || g.waiting != 0 {
		t.Errorf("left behind: %+v, %d, %d", g.callers, g.all, g.waiting)
	}
}

// One line per message and ten seconds, and a count of what was left out.
func TestSampler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		s := sampler{log: slog.New(slog.NewTextHandler(&out, nil))}
		for range 1000 {
			s.warn("often")
		}
		s.warn("other")
		if n := strings.Count(out.String(), "\n"); n != 2 {
			t.Errorf("%d lines, want 2", n)
		}
		time.Sleep(samplePeriod)
		s.warn("often")
		if !strings.Contains(out.String(), "suppressed=999") {
			t.Errorf("no count in %q", out.String())
		}
	})
}

// A server lets TURN REST credentials in, refuses what has expired, was revoked or
// is not of their form, and logs no secret.
func TestCredentials(t *testing.T) {
	keys, err := creds.NewKeys(creds.KeysOptions{
		Secrets: []string{"0123456789abcdef0123456789abcdef"}, Realm: testRealm,
	})
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	o := testOptions(Listener{Transport: relay.TCP, Addr: "127.0.0.1:0"})
	o.Keys = Credentials(keys)
	o.Policy.Limits.FailedLogins = relay.Rate{N: -1}
	o.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s := serve(t, o)

	now := time.Now()
	good, expired, revoked := keys.Issue("alice", time.Hour, now), keys.Issue("bob", -time.Hour, now), keys.Issue("carol", time.Hour, now)
	keys.Revoke("carol", now.Add(2*time.Hour))
	allocate := func(user, pass string) int {
		c := dial(t, s, relay.TCP)
		c.user, c.pass = user, pass
		return code(c.request(stun.MethodAllocate, raw(stun.AttrRequestedTransport, 17, 0, 0, 0)))
	}
	for _, c := range []struct {
		name string
		user string
		pass string
		want int
	}{
		{"good", good.Username, good.Password, 0},
		{"wrong password", good.Username, "x" + good.Password, 401},
		{"expired", expired.Username, expired.Password, 401},
		{"revoked", revoked.Username, revoked.Password, 401},
		{"no such user", "alice", good.Password, 401},
	} {
		if got := allocate(c.user, c.pass); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
	if strings.Contains(log.String(), good.Password) {
		t.Error("the log holds a password")
	}
}

// A large buffer is kept while it is used, and given up when it is not.
func TestKeeper(t *testing.T) {
	var k keeper
	large, small := make([]byte, 4*largeBuffer), make([]byte, largeBuffer)
	if k.keep(small[:1]) == nil {
		t.Error("a small buffer is given up")
	}
	for range 10 * maxSpacious {
		if k.keep(large[:len(large)/2]) == nil || k.keep(large[:1]) == nil {
			t.Fatal("a large buffer is given up while it is used")
		}
	}
	for range maxSpacious {
		k.keep(large[:1])
	}
	if k.keep(large[:1]) != nil {
		t.Error("a large buffer is kept for ever")
	}
}

// What is being written and what waits share one limit, but that one message may always
// wait, however large; memory does not grow beyond that.
func TestQueueKeepsItsLimit(t *testing.T) {
	near, far := net.Pipe()
	defer far.Close()
	s := &Server{opt: Options{Limits: Limits{Queue: 1000, Write: time.Hour}}}
	c := newConn(s, relay.TCP, near, near)
	var writer sync.WaitGroup
	writer.Go(c.write)
	defer writer.Wait()
	defer c.close()
	var lost relay.Counts
	send := func(size int, fits bool) {
		t.Helper()
		before := lost.Drops[relay.QueueFull]
		if c.enqueue(&relay.Send{Body: make([]byte, size)}, &lost) {
			c.wakeWriter()
		}
		if took := lost.Drops[relay.QueueFull] == before; took != fits {
			t.Errorf("%d bytes: taken %v, want %v", size, took, fits)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if room := cap(c.queue); room > max(1000, len(c.queue)) {
			t.Errorf("%d bytes wait in %d", len(c.queue), room)
		}
	}
	state := func() (waiting, writing int) {
		c.mu.Lock()
		defer c.mu.Unlock()
		return len(c.queue), c.writing
	}
	send(400, true)
	eventually(t, "the writer writes", func() bool { _, n := state(); return n == 400 })
	send(300, true)
	send(301, false)
	send(300, true)
	send(1, false)
	if n, err := io.ReadFull(far, make([]byte, 1000)); err != nil {
		t.Fatalf("%d bytes: %v", n, err)
	}
	eventually(t, "all is written", func() bool { waiting, writing := state(); return waiting+writing == 0 })
	send(5000, true)
	eventually(t, "the writer writes", func() bool { _, n := state(); return n == 5000 })
	send(5000, true)
	send(1, false)
}
