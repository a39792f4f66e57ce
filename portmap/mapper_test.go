package portmap

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"rtcd/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m, "rtcd/portmap") }

// fakeRouter forwards what it is asked to, unless it refuses or is silent.
type fakeRouter struct {
	mu       sync.Mutex // guards the following
	external netip.Addr
	ends     map[Port]time.Time // of each mapping
	refuses  map[Port]string
	silent   bool
	maps     int // how often it was asked to
	found    int // how often it was searched for
}

func (r *fakeRouter) Name() string { return "fake" }

func (r *fakeRouter) External(context.Context) (netip.Addr, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.silent {
		return netip.Addr{}, errSilent
	}
	return r.external, nil
}

func (r *fakeRouter) Map(_ context.Context, p Port, lifetime time.Duration) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.maps++
	switch {
	case r.silent:
		return errSilent
	case r.refuses[p] != "":
		return errors.New(r.refuses[p])
	}
	r.ends[p] = time.Now().Add(lifetime)
	return nil
}

func (r *fakeRouter) Unmap(_ context.Context, p Port) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.silent {
		return errSilent
	}
	delete(r.ends, p)
	return nil
}

func (r *fakeRouter) set(change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change()
}

// forwarded are the ports that have not lapsed.
func (r *fakeRouter) forwarded() (out []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for p, end := range r.ends {
		if time.Now().Before(end) {
			out = append(out, p.String())
		}
	}
	slices.Sort(out)
	return out
}

type scene struct {
	t       *testing.T
	router  *fakeRouter
	mapper  *Mapper
	log     bytes.Buffer
	changes []string
	end     func()
}

func play(t *testing.T, story func(s *scene)) {
	synctest.Test(t, func(t *testing.T) {
		s := &scene{t: t, router: &fakeRouter{external: netip.MustParseAddr("203.0.113.5"), ends: map[Port]time.Time{}, refuses: map[Port]string{}}}
		s.mapper = New(Options{
			Log: slog.New(slog.NewTextHandler(&s.log, nil)),
			Find: func(context.Context) (Router, error) {
				s.router.mu.Lock()
				defer s.router.mu.Unlock()
				if s.router.found++; s.router.silent {
					return nil, errSilent
				}
				return s.router, nil
			},
		})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		// The story owns it; cancel ends it.
		go func() {
			ended <- s.mapper.Run(ctx, func() { s.changes = append(s.changes, s.mapper.Status().External.String()) })
		}()
		s.end = func() {
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
		synctest.Wait()
		story(s)
	})
}

func (s *scene) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (s *scene) want(what, ports string) {
	s.t.Helper()
	if got := strings.Join(s.router.forwarded(), " "); got != ports {
		s.t.Errorf("%s: forwarded %q, want %q", what, got, ports)
	}
}

var turn = []Port{{"tcp", 3478}, {"udp", 3478}}

// Off means that no router is even looked for.
func TestNothingIsWanted(t *testing.T) {
	play(t, func(s *scene) {
		s.pass(100 * time.Hour)
		if s.router.found != 0 {
			t.Error("a router was looked for")
		}
		s.end()
	})
}

// A mapping is renewed while it is wanted, and taken back in the end.
func TestMappingsAreKept(t *testing.T) {
	play(t, func(s *scene) {
		s.mapper.Set(turn)
		s.pass(0)
		s.want("at once", "3478/tcp 3478/udp")
		st := s.mapper.Status()
		if st.Router != "fake" || st.External.String() != "203.0.113.5" || len(st.Mapped) != 2 || st.Problem != "" || len(st.Refused) != 0 {
			t.Errorf("%+v", st)
		}
		s.pass(10 * time.Hour)
		s.want("ten hours later", "3478/tcp 3478/udp")
		s.router.set(func() { s.router.ends = map[Port]time.Time{} })
		s.pass(renewEvery)
		s.want("after the router was restarted", "3478/tcp 3478/udp")
		s.mapper.Set([]Port{{"udp", 3478}, {"udp", 443}})
		s.pass(0)
		s.want("others are wanted", "3478/udp 443/udp")
		s.mapper.Set(nil)
		s.pass(0)
		s.want("off", "")
		if st := s.mapper.Status(); st.Router != "" || st.External.IsValid() {
			t.Errorf("off: %+v", st)
		}
		s.mapper.Set(turn)
		s.pass(0)
		s.want("on again", "3478/tcp 3478/udp")
		s.end()
		s.want("in the end", "")
		if got := strings.Join(s.changes, " "); got != "203.0.113.5 invalid IP 203.0.113.5" {
			t.Errorf("told %q", got)
		}
	})
}

// A refused port is told once, tried again, and keeps no other from being forwarded.
func TestRefusedPort(t *testing.T) {
	play(t, func(s *scene) {
		s.router.set(func() { s.router.refuses[turn[0]] = "somebody else has it" })
		s.mapper.Set(turn)
		s.pass(5 * renewEvery)
		s.want("the other one", "3478/udp")
		if st := s.mapper.Status(); len(st.Refused) != 1 || st.Refused[0] != "3478/tcp: somebody else has it" {
			t.Errorf("%+v", st)
		}
		if n := strings.Count(s.log.String(), "does not forward a port"); n != 1 {
			t.Errorf("logged %d times", n)
		}
		s.router.set(func() { delete(s.router.refuses, turn[0]) })
		s.pass(renewEvery)
		s.want("both", "3478/tcp 3478/udp")
		if st := s.mapper.Status(); len(st.Refused) != 0 {
			t.Errorf("%+v", st)
		}
		s.end()
	})
}

// Where no router answers, it is searched for ever more rarely; one that comes back is
// found again.
func TestRouterComesAndGoes(t *testing.T) {
	play(t, func(s *scene) {
		s.router.set(func() { s.router.silent = true })
		s.mapper.Set(turn)
		s.pass(24 * time.Hour)
		if n := s.router.found; n < 90 || n > 110 { // every 15 minutes at last
			t.Errorf("searched %d times in a day", n)
		}
		if n := strings.Count(s.log.String(), "no router forwards our ports"); n != 1 {
			t.Errorf("logged %d times", n)
		}
		if st := s.mapper.Status(); !strings.Contains(st.Problem, "no answer") {
			t.Errorf("%+v", st)
		}
		s.router.set(func() { s.router.silent = false })
		s.pass(searchLast)
		s.want("it answers", "3478/tcp 3478/udp")
		s.router.set(func() { s.router.silent, s.router.ends = true, map[Port]time.Time{} })
		s.pass(renewEvery)
		if st := s.mapper.Status(); st.Router != "" || st.External.IsValid() {
			t.Errorf("silent again: %+v", st)
		}
		s.router.set(func() { s.router.silent, s.router.external = false, netip.MustParseAddr("203.0.113.9") })
		s.pass(searchLast)
		s.want("and back", "3478/tcp 3478/udp")
		if got := strings.Join(s.changes, " "); got != "203.0.113.5 invalid IP 203.0.113.9" {
			t.Errorf("told %q", got)
		}
		s.router.set(func() { s.router.silent = true })
		start := time.Now()
		s.end() // a silent router does not keep us
		if d := time.Since(start); d > goodbye {
			t.Errorf("the end took %v", d)
		}
		if !strings.Contains(s.log.String(), "may go on forwarding ports until they lapse") {
			t.Error("the log does not tell of mappings left behind")
		}
	})
}

// The provider gives the router another address.
func TestExternalAddressChanges(t *testing.T) {
	play(t, func(s *scene) {
		s.mapper.Set(turn)
		s.pass(time.Minute)
		s.router.set(func() { s.router.external = netip.MustParseAddr("100.64.0.7") })
		s.pass(renewEvery)
		if got := strings.Join(s.changes, " "); got != "203.0.113.5 100.64.0.7" {
			t.Errorf("told %q", got)
		}
		s.end()
	})
}

// Fifty relay ports are fifty requests, not more.
func TestManyPorts(t *testing.T) {
	play(t, func(s *scene) {
		var many []Port
		for i := range 50 {
			many = append(many, Port{"udp", uint16(49152 + i)})
		}
		s.mapper.Set(many)
		s.pass(0)
		if n := len(s.router.forwarded()); n != 50 || s.router.maps != 50 {
			t.Errorf("%d forwarded with %d requests", n, s.router.maps)
		}
		s.mapper.Set(slices.Clone(many)) // the same
		s.pass(0)
		if s.router.maps != 50 {
			t.Error("asked again for what is there")
		}
		s.end()
		if n := len(s.router.forwarded()); n != 0 {
			t.Errorf("%d left behind", n)
		}
	})
}

func ExamplePort() {
	fmt.Println(Port{"udp", 3478})
	// Output: 3478/udp
}
