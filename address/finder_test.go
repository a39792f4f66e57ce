package address

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// stage is a Finder in a world of fakes, in which the tests' clock runs.
type stage struct {
	t      *testing.T
	finder *Finder
	moved  chan struct{}

	mu       sync.Mutex // guards the following
	machine  Machine
	names    map[string][]netip.Addr
	metadata []Claim
	stun     []Claim
	lookups  []time.Duration // since the beginning
	asks     []time.Duration
	delay    time.Duration // of those who are asked
	changes  []string      // the addresses after each change
	start    time.Time
}

func play(t *testing.T, w Wish, m Machine, story func(s *stage), before ...func(s *stage)) {
	synctest.Test(t, func(t *testing.T) {
		s := &stage{t: t, machine: m, moved: make(chan struct{}), names: map[string][]netip.Addr{}, start: time.Now()}
		s.finder = NewFinder(Options{
			Lookup: func(_ context.Context, name string) ([]netip.Addr, error) {
				s.mu.Lock()
				defer s.mu.Unlock()
				s.lookups = append(s.lookups, time.Since(s.start))
				if s.names[name] == nil {
					return nil, errors.New("no such host")
				}
				return s.names[name], nil
			},
			look: func([]Pair) Machine { s.mu.Lock(); defer s.mu.Unlock(); return s.machine },
			stun: func(ctx context.Context, servers []string, _ [2]bool, _ LookupFunc) ([]Claim, []string) {
				s.mu.Lock()
				s.asks = append(s.asks, time.Since(s.start))
				s.mu.Unlock()
				s.sleep(ctx)
				s.mu.Lock()
				defer s.mu.Unlock()
				var silent []string
				for _, server := range servers {
					if !slices.ContainsFunc(s.stun, func(c Claim) bool { return c.By == server }) {
						silent = append(silent, server+" did not answer")
					}
				}
				return slices.Clone(s.stun), silent
			},
			metadata: func(ctx context.Context) []Claim {
				s.sleep(ctx)
				s.mu.Lock()
				defer s.mu.Unlock()
				return slices.Clone(s.metadata)
			},
			changes: func(ctx context.Context) <-chan struct{} {
				context.AfterFunc(ctx, func() { close(s.moved) })
				return s.moved
			},
		})
		for _, f := range before {
			f(s)
		}
		s.finder.Use(s.finder.Try(t.Context(), w))
		ctx, end := context.WithCancel(t.Context())
		ended := make(chan error)
		// The story owns it; end ends it.
		go func() {
			ended <- s.finder.Run(ctx, func() { s.changes = append(s.changes, s.told()) })
		}()
		synctest.Wait()
		story(s)
		end()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// set changes the world.
func (s *stage) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// say is what the STUN servers say from now on.
func (s *stage) say(text string) { s.set(func() { s.stun = claims(text) }) }

func (s *stage) sleep(ctx context.Context) {
	s.mu.Lock()
	delay := s.delay
	s.mu.Unlock()
	if delay > 0 {
		timer := time.NewTimer(delay)
		defer timer.Stop()
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
	}
}

func (s *stage) told() string {
	var out []string
	for _, a := range s.finder.Decision().Addresses {
		out = append(out, a.Public.String())
	}
	return strings.Join(out, " ")
}

func (s *stage) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (s *stage) want(what, addrs string) {
	s.t.Helper()
	if got := s.told(); got != addrs {
		s.t.Errorf("%s: %q, want %q", what, got, addrs)
	}
}

func (s *stage) wantChanges(n int) {
	s.t.Helper()
	if len(s.changes) != n {
		s.t.Errorf("%d changes told, want %d: %q", len(s.changes), n, s.changes)
	}
}

var (
	asking = Wish{Auto: true, Discover: true, Metadata: true, STUN: []string{"a", "b"}, Every: 5 * time.Minute}
	home   = machine("192.168.1.5")
)

// The start does not wait for strangers: it begins with the local address.
func TestAnswersComeLater(t *testing.T) {
	play(t, asking, home, func(s *stage) {
		s.pass(time.Second)
		s.want("before the answer", "192.168.1.5")
		if len(s.asks) != 1 || s.asks[0] != 0 {
			t.Errorf("asked at %v", s.asks)
		}
		if !s.finder.Decision().Asking {
			t.Error("it does not say that it asks")
		}
		s.pass(time.Second)
		s.want("after it", "203.0.113.5")
		s.wantChanges(1)
	}, func(s *stage) {
		s.delay, s.stun = 2*time.Second, claims("stun a 203.0.113.5, stun b 203.0.113.5")
	})
	play(t, asking, home, func(s *stage) {
		s.pass(5 * time.Second) // asked again after nobody has told
		s.say("stun a 203.0.113.5, stun b 203.0.113.5")
		s.pass(10 * time.Second)
		s.want("after the answer", "203.0.113.5")
	})
}

// Nobody is asked where this machine has a public address, or the wish does not allow it.
func TestNobodyIsAskedInVain(t *testing.T) {
	quiet := asking
	quiet.Discover = false
	written := asking
	written.Addrs = addrs("198.51.100.7")
	for name, c := range map[string]struct {
		w Wish
		m Machine
	}{
		"public": {asking, machine("11.22.33.5")}, "not allowed": {quiet, home}, "written": {written, home}, "no network": {asking, machine("")},
	} {
		play(t, c.w, c.m, func(s *stage) {
			s.pass(time.Hour)
			if len(s.asks) != 0 {
				t.Errorf("%s: asked at %v", name, s.asks)
			}
			s.wantChanges(0)
		})
	}
}

func seconds(list ...int) (out []time.Duration) {
	for _, n := range list {
		out = append(out, time.Duration(n)*time.Second)
	}
	return out
}

// While nobody can tell, asking gets rarer; once somebody can, it is regular.
func TestPaceOfAsking(t *testing.T) {
	play(t, asking, home, func(s *stage) {
		s.pass(10 * time.Minute)
		want := seconds(0, 5, 15, 35, 75, 155, 315, 615)
		if !slices.Equal(s.asks, want[:7]) {
			t.Errorf("asked at %v, want %v", s.asks, want[:7])
		}
		if d := s.finder.Decision(); len(d.Notes) != 1 || !strings.Contains(d.Notes[0], "a did not answer; b did not answer; no metadata service") {
			t.Errorf("notes %q", d.Notes)
		}
		s.wantChanges(1) // that nobody could tell
		s.say("stun a 203.0.113.5, stun b 203.0.113.5")
		s.pass(time.Minute)
		s.want("at last", "203.0.113.5")
		s.set(func() { s.asks = nil })
		s.pass(20 * time.Minute)
		if len(s.asks) != 4 || s.asks[1]-s.asks[0] != 5*time.Minute {
			t.Errorf("asked at %v, want every five minutes", s.asks)
		}
		s.wantChanges(2)
	})
}

// The router has got another address from the provider: nothing here tells, but asking.
func TestPublicAddressChanges(t *testing.T) {
	play(t, asking, home, func(s *stage) {
		s.say("stun a 203.0.113.5, stun b 203.0.113.5")
		s.pass(5 * time.Second)
		s.want("first", "203.0.113.5")
		s.say("stun a 203.0.113.6") // and b is down
		s.pass(5 * time.Minute)
		s.want("one server alone is not believed", "203.0.113.5")
		s.say("")
		s.pass(time.Hour)
		s.want("silence changes nothing", "203.0.113.5")
		s.say("stun a 203.0.113.7, stun b 203.0.113.7")
		s.pass(5 * time.Minute)
		s.want("both say so", "203.0.113.7")
		s.set(func() { s.metadata = claims("metadata AWS 203.0.113.8") })
		s.pass(5 * time.Minute)
		s.want("the cloud knows better", "203.0.113.8")
		s.set(func() { s.metadata = nil })
		s.pass(5 * time.Minute)
		s.want("and its silence changes nothing either", "203.0.113.8")
	})
}

// Right after a move the router may still show the address of before: others are asked
// again soon, though what they said was good, and then no oftener than usual.
func TestOthersAreAskedAgainAfterAMove(t *testing.T) {
	seldom := asking
	seldom.Every = time.Hour
	play(t, seldom, home, func(s *stage) {
		s.say("stun a 203.0.113.5, stun b 203.0.113.5")
		s.pass(30 * time.Minute)
		s.set(func() { s.machine, s.asks = machine("192.168.7.5"), nil })
		s.moved <- struct{}{}
		s.pass(settle + time.Second)
		s.want("what was there before", "203.0.113.5")
		s.say("stun a 203.0.113.9, stun b 203.0.113.9")
		s.pass(askFirst)
		s.want("what is there now", "203.0.113.9")
		s.pass(59 * time.Minute)
		if n := len(s.asks); n != 1+doubts {
			t.Errorf("asked %d times, want %d: %v", n, 1+doubts, s.asks)
		}
	})
}

// When the kernel tells of another address, everything is looked at anew, once.
func TestMachineMoves(t *testing.T) {
	play(t, asking, home, func(s *stage) {
		s.say("stun a 203.0.113.5, stun b 203.0.113.5")
		s.pass(time.Minute)
		asked := len(s.asks)
		for range 3 { // addresses come and go for a moment
			s.moved <- struct{}{}
		}
		s.set(func() { s.machine = machine("192.168.7.5") })
		s.say("stun a 203.0.113.9, stun b 203.0.113.9")
		s.pass(settle)
		s.want("another network", "203.0.113.9")
		if len(s.asks) != asked+1 {
			t.Errorf("asked %d times, want once", len(s.asks)-asked)
		}
		s.moved <- struct{}{} // of an interface that is none of our business
		s.pass(settle)
		if len(s.asks) != asked+1 {
			t.Error("asked though nothing of ours has changed")
		}
		s.set(func() { s.machine = machine("11.22.33.5") }) // told by nobody
		s.pass(machineEvery)
		s.want("a public address of its own", "11.22.33.5")
	})
}

// A name is read again every minute; soon while it cannot be looked up.
func TestPaceOfNames(t *testing.T) {
	play(t, Wish{Names: []string{"home.example"}}, home, func(s *stage) {
		if d := s.finder.Decision(); !errors.Is(d.Err, ErrNotYet) {
			t.Errorf("error %v", d.Err)
		}
		s.pass(16 * time.Second)
		want := seconds(0, 1, 3, 7, 15)
		if !slices.Equal(s.lookups, want) {
			t.Errorf("looked up at %v, want %v", s.lookups, want)
		}
		s.set(func() { s.names["home.example"] = addrs("203.0.113.5") })
		s.pass(16 * time.Second)
		s.want("found", "203.0.113.5")
		s.set(func() { s.names["home.example"] = addrs("203.0.113.6") })
		s.pass(time.Minute)
		s.want("a minute later", "203.0.113.6")
		s.set(func() { delete(s.names, "home.example") })
		s.pass(time.Minute)
		s.want("what is known stays", "203.0.113.6")
		if d := s.finder.Decision(); !errors.Is(d.Err, ErrNotYet) {
			t.Errorf("error %v", d.Err)
		}
		s.set(func() { s.lookups = nil })
		s.pass(10 * time.Minute)
		if n := len(s.lookups); n < 12 || n > 15 { // 1, 2, 4 … s, then each minute
			t.Errorf("looked up %d times in ten minutes", n)
		}
	})
}

// A new wish is in force at once; what was being found for the old one is not.
func TestNewWish(t *testing.T) {
	play(t, asking, home, func(s *stage) {
		s.set(func() { s.delay = 2 * time.Second })
		s.say("stun a 203.0.113.5, stun b 203.0.113.5")
		s.pass(8 * time.Second) // in the middle of asking
		w := Wish{Addrs: addrs("198.51.100.7"), Every: time.Minute}
		s.finder.Use(s.finder.Try(t.Context(), w))
		s.pass(time.Minute)
		s.want("written", "198.51.100.7")
		s.finder.Use(s.finder.Try(t.Context(), asking))
		s.pass(5 * time.Second)
		s.want("asked again", "203.0.113.5")
		trial := s.finder.Try(t.Context(), Wish{Names: []string{"absent.example"}})
		if d := trial.Decision(); d.Err == nil {
			t.Error("a trial of an absent name has no error")
		}
		s.want("a trial changes nothing", "203.0.113.5")
	})
}

// What the router says comes in at any time, and goes with it.
func TestRouterTells(t *testing.T) {
	play(t, Wish{Auto: true}, home, func(s *stage) {
		s.finder.Router(claims("gateway UPnP 203.0.113.5"))
		s.pass(0)
		s.want("forwarded", "203.0.113.5")
		s.finder.Router(claims("gateway UPnP 10.1.1.1"))
		s.pass(0)
		s.want("behind the provider's NAT", "192.168.1.5")
		s.finder.Router(nil)
		s.pass(time.Hour)
		s.want("off", "192.168.1.5")
		s.wantChanges(3)
	})
}

// Once, for commands.
func TestFind(t *testing.T) {
	o := Options{
		look:     func([]Pair) Machine { return home },
		stun:     func(context.Context, []string, [2]bool, LookupFunc) ([]Claim, []string) { panic("a fault in it") },
		metadata: func(context.Context) []Claim { return claims("metadata AWS 203.0.113.5") },
	}
	d := Find(t.Context(), asking, o)
	if len(d.Addresses) != 1 || d.Addresses[0].Why != "metadata of AWS, NATed to 192.168.1.5" || d.Asking {
		t.Errorf("%+v", d)
	}
	// This machine, as it is.
	if d := Find(t.Context(), Wish{Auto: true}, Options{}); len(d.Addresses) == 0 || d.Addresses[0].Why == "" {
		t.Errorf("%+v", d)
	}
	loopback := netip.MustParseAddr("127.0.0.77") // on no interface, but ours
	d = Find(t.Context(), Wish{Relays: []Pair{{loopback, loopback}, {addrs("192.0.2.1")[0], addrs("192.0.2.1")[0]}}}, Options{})
	if len(d.Addresses) != 1 || d.Addresses[0].Public != loopback || len(d.Notes) != 1 {
		t.Logf("on systems that own all of 127/8: %+v", d)
	}
}
