package selftest

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"rtcd/probe"
)

const (
	stun = "stun:rtc.test:3478"
	udp  = "turn:rtc.test:3478?transport=udp"
	tls  = "turns:rtc.test:5349?transport=tcp"
)

// fake is a server whose URLs work, unless they are in broken.
type fake struct {
	*Tester
	t *testing.T

	mu      sync.Mutex // guards all below
	urls    []string
	every   time.Duration
	broken  map[string]bool
	unsure  map[string]bool
	paused  bool
	tests   int
	changes int
	log     strings.Builder
}

func newFake(t *testing.T) *fake {
	f := &fake{t: t, urls: []string{stun, udp, tls}, every: 5 * time.Minute, broken: map[string]bool{}, unsure: map[string]bool{}}
	f.Tester = New(Options{
		Every:    func() (d time.Duration) { f.set(func() { d = f.every }); return d },
		URLs:     func() (list []string) { f.set(func() { list = f.urls }); return list },
		Pause:    func() (p bool) { f.set(func() { p = f.paused }); return p },
		OnChange: func() { f.set(func() { f.changes++ }) },
		Log:      slog.New(slog.NewTextHandler(&f.log, nil)),
		Probe: func(_ context.Context, url string) (*probe.Report, bool) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.tests++
			if f.broken[url] {
				return &probe.Report{Problem: &probe.Problem{Step: "connect", Reason: "no answer", Remedy: "open the port"}}, !f.unsure[url]
			}
			return &probe.Report{OK: true, Echo: &probe.Echo{MedianMs: 1.5}}, !f.unsure[url]
		},
	})
	return f
}

// set changes or reads the fake.
func (f *fake) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// runs runs the tester for the time that script takes.
func (f *fake) runs(script func()) {
	ctx, cancel := context.WithCancel(f.t.Context())
	done := make(chan error)
	go func() { done <- f.Run(ctx) }()
	script()
	cancel()
	if err := <-done; err != nil {
		f.t.Error(err)
	}
}

func (f *fake) wantUsable(when string, want ...string) {
	f.t.Helper()
	if got := f.Usable(f.urls); !slices.Equal(got, want) {
		f.t.Errorf("%s: %q, want %q", when, got, want)
	}
}

// up is what the metrics say of each URL.
func (f *fake) up() map[string]float64 {
	f.t.Helper()
	r := prometheus.NewRegistry()
	r.MustRegister(f.Tester)
	families, err := r.Gather()
	if err != nil {
		f.t.Fatal(err)
	}
	out := map[string]float64{}
	for _, family := range families {
		if family.GetName() != "rtcd_selftest_up" {
			continue
		}
		for _, m := range family.GetMetric() {
			out[m.GetLabel()[0].GetValue()] = m.GetGauge().GetValue()
		}
	}
	return out
}

// after lets time pass and the tests of that time end.
func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// A URL that fails is tested again soon; when it fails again it is left out, and it is
// back with the first test that goes well. Each is told once.
func TestAFailingURLIsLeftOutUntilItWorks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		f.runs(func() {
			f.wantUsable("before any test", stun, udp, tls)
			after(firstWait)
			f.wantUsable("all work", stun, udp, tls)
			f.set(func() { f.broken[tls] = true })
			after(f.every)
			f.wantUsable("failed once", stun, udp, tls)
			after(retryWait)
			f.wantUsable("failed twice", stun, udp)
			if f.changes != 1 || f.Broken() {
				t.Errorf("%d changes, broken: %v; want one, and a server that works", f.changes, f.Broken())
			}
			after(10 * retryWait)
			f.wantUsable("still failing", stun, udp)
			f.set(func() { delete(f.broken, tls) })
			after(retryWait)
			f.wantUsable("works again", stun, udp, tls)
			if f.changes != 2 {
				t.Errorf("%d changes, want 2", f.changes)
			}
			before := f.tests
			after(f.every - time.Second)
			if f.tests != before {
				t.Error("a server whose URLs all work is tested again before its time")
			}
		})
		if n := strings.Count(f.log.String(), "\n"); n != 2 {
			t.Errorf("%d lines, want one for each change:\n%s", n, f.log.String())
		}
		if !strings.Contains(f.log.String(), `remedy="open the port"`) {
			t.Error(f.log.String())
		}
	})
}

// Who gets no URL at all is worse off than who gets one that may not work.
func TestAllDownStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		f.set(func() { f.broken[udp], f.broken[tls] = true, true })
		f.runs(func() {
			after(firstWait + retryWait)
			if !f.Broken() {
				t.Error("every TURN URL is down, and the server is not broken")
			}
			if got := f.Usable([]string{udp, tls}); len(got) != 2 {
				t.Errorf("handed out: %q", got)
			}
			f.set(func() { f.every = 0 })
			after(retryWait)
			f.wantUsable("switched off", stun, udp, tls)
			if f.Broken() || f.changes != 2 {
				t.Errorf("switched off: broken %v, %d changes", f.Broken(), f.changes)
			}
		})
	})
}

// Where a failure may be this machine's own, as where a router does not lead back to
// its public address, it counts only once the URL has worked.
func TestWhatCannotBeJudgedIsNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		f.set(func() { f.unsure[udp], f.broken[udp] = true, true })
		f.runs(func() {
			after(firstWait + 10*f.every)
			f.wantUsable("never reached from here", stun, udp, tls)
			f.set(func() { delete(f.broken, udp) })
			after(f.every)
			f.set(func() { f.broken[udp] = true })
			after(f.every + retryWait)
			f.wantUsable("was reached and is not any more", stun, tls)
		})
	})
}

func TestNoTestsWhilePaused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		f.paused = true
		f.runs(func() {
			after(10 * f.every)
			if f.tests != 0 {
				t.Errorf("%d tests of a server that drains", f.tests)
			}
		})
	})
}

// A URL that is advertised no more is forgotten, and its metrics with it.
func TestURLsComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		f.set(func() { f.broken[tls] = true })
		f.runs(func() {
			after(firstWait + retryWait)
			if got := f.up(); len(got) != 3 || got[stun] != 1 || got[udp] != 1 || got[tls] != 0 {
				t.Errorf("rtcd_selftest_up: %v", got)
			}
			f.set(func() { f.urls = []string{stun, udp} })
			after(retryWait)
			if got := f.up(); len(got) != 2 {
				t.Errorf("rtcd_selftest_up: %v, want two URLs", got)
			}
			if f.changes != 2 {
				t.Errorf("%d changes, want 2: one went down, one went", f.changes)
			}
		})
	})
}
