package selftest

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"rtcd/probe"
)

// Options are fixed at birth; the functions are called from Run's goroutine.
type Options struct {
	// Every is the time between two tests of a URL, now; 0 = none.
	Every func() time.Duration
	// URLs are all that the configuration advertises, those that are down too.
	URLs func() []string
	// Pause reports that no test makes sense now: the server takes nothing new.
	Pause func() bool
	// Probe uses one URL as a client would. Sure tells that a failure is the URL's;
	// otherwise it may be that only this machine cannot reach it, as where a router
	// does not lead back to its own public address.
	Probe func(ctx context.Context, url string) (report *probe.Report, sure bool)
	// OnChange is called after URLs went down or came back.
	OnChange func()
	Log      *slog.Logger
}

// How often tests are made.
const (
	firstWait = 3 * time.Second  // after the start
	retryWait = 20 * time.Second // after a failure, to be sure
	idleLook  = time.Minute      // how often a switched-off test looks whether it is on again
	mostTime  = 30 * time.Second // for one URL
	downAfter = 2                // failures in a row
)

// Result is what the last tests of one URL showed.
type Result struct {
	URL      string
	Up       bool          // the last test went well
	Down     bool          // it is not handed out
	Sure     bool          // a failure is the URL's own; see Options.Probe
	Failures int           // in a row
	At       time.Time     // of the last test
	Took     time.Duration // all of it
	RTT      float64       // ms through the relay and back, 0 if not measured
	Problem  string        // why the last one failed, "" if it did not
	Remedy   string
	Notes    []string // what works, but looks wrong
	worked   bool     // ever
}

// Judged reports whether the result counts: a failure that may be this machine's own
// does not, until the URL has worked once.
func (r Result) Judged() bool { return r.Up || r.Sure || r.worked }

// Tester tests the URLs of one server.
type Tester struct {
	o Options

	mu      sync.Mutex // guards the following
	results map[string]Result
	last    time.Time // of the last round
}

// New returns a Tester that has tested nothing yet.
func New(o Options) *Tester { return &Tester{o: o, results: map[string]Result{}} }

// Run tests until ctx is done.
func (t *Tester) Run(ctx context.Context) error {
	wait := firstWait
	for {
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
		wait = t.turn(ctx)
	}
}

// turn makes one round, if it is time for one, and returns when the next is due.
func (t *Tester) turn(ctx context.Context) time.Duration {
	every := t.o.Every()
	if every <= 0 {
		t.forget()
		return idleLook
	}
	if t.o.Pause() {
		return retryWait
	}
	failing := t.Round(ctx)
	if failing {
		return min(every, retryWait)
	}
	return every
}

// Round tests every URL once and reports whether any fails.
func (t *Tester) Round(ctx context.Context) (failing bool) {
	urls := t.o.URLs()
	changed := t.keepOnly(urls)
	for _, url := range urls {
		r, ok := t.test(ctx, url)
		if !ok {
			return failing // ended, or the server takes nothing new any more: that shows nothing
		}
		r, moved := t.put(r)
		failing = failing || !r.Up && r.Judged()
		changed = changed || moved
	}
	t.mu.Lock()
	t.last = time.Now()
	t.mu.Unlock()
	if changed {
		t.o.OnChange()
	}
	return failing
}

func (t *Tester) test(ctx context.Context, url string) (r Result, ok bool) {
	limited, cancel := context.WithTimeout(ctx, mostTime)
	defer cancel()
	start := time.Now()
	report, sure := t.o.Probe(limited, url)
	r = Result{URL: url, Up: report.OK, Sure: sure, At: time.Now(), Took: time.Since(start), Notes: report.Notes}
	if report.Echo != nil {
		r.RTT = report.Echo.MedianMs
	}
	if report.Problem != nil {
		r.Problem, r.Remedy = report.Problem.Step+": "+report.Problem.Reason, report.Problem.Remedy
	}
	return r, ctx.Err() == nil && (r.Up || !t.o.Pause())
}

// put takes a result in, logs what is new, and returns it with what is known from
// before. It reports whether the URL went down or came back.
func (t *Tester) put(r Result) (_ Result, changed bool) {
	t.mu.Lock()
	before, known := t.results[r.URL]
	r.worked = before.worked || r.Up
	if !r.Up {
		r.Failures = before.Failures + 1
	}
	r.Down = !r.Up && r.Judged() && r.Failures >= downAfter
	t.results[r.URL] = r
	t.mu.Unlock()
	switch {
	case r.Down && !before.Down:
		t.o.Log.Warn("self-test: a URL does not work and is no longer handed out",
			"url", r.URL, "problem", r.Problem, "remedy", r.Remedy)
	case before.Down && r.Up:
		t.o.Log.Info("self-test: a URL works again and is handed out", "url", r.URL)
	case !r.Judged() && !known:
		t.o.Log.Info("self-test: a URL cannot be judged from this machine", "url", r.URL, "problem", r.Problem)
	case r.Failures == 1:
		t.o.Log.Debug("self-test: a URL failed once", "url", r.URL, "problem", r.Problem)
	}
	return r, r.Down != before.Down
}

// keepOnly forgets what is no longer advertised.
func (t *Tester) keepOnly(urls []string) (changed bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	maps.DeleteFunc(t.results, func(url string, r Result) bool {
		gone := !slices.Contains(urls, url)
		changed = changed || gone && r.Down
		return gone
	})
	return changed
}

// forget holds everything for working again.
func (t *Tester) forget() {
	if t.keepOnly(nil) {
		t.o.OnChange()
	}
}

// Usable returns the URLs of list that are not down, in their order. Where all of a
// scheme's are down they stay: a client without any would fare no better.
func (t *Tester) Usable(list []string) []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	kept := slices.DeleteFunc(slices.Clone(list), func(url string) bool { return t.results[url].Down })
	if len(kept) == 0 {
		return list
	}
	return kept
}

// Broken reports that every TURN URL is down: nobody can relay anything.
func (t *Tester) Broken() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	down := 0
	for url, r := range t.results {
		if !strings.HasPrefix(url, "turn") {
			continue
		}
		if !r.Down {
			return false
		}
		down++
	}
	return down > 0
}

// Results are the last results in the order of the URLs, and when the last round
// ended; zero if none has.
func (t *Tester) Results() ([]Result, time.Time) {
	urls := t.o.URLs()
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []Result
	for _, url := range urls {
		if r, ok := t.results[url]; ok {
			out = append(out, r)
		}
	}
	return out, t.last
}
