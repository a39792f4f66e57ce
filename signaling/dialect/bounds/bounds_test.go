package bounds

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"rtcd/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m, "rtcd/signaling") }

// reader is somebody who takes a queue of strings, or does not.
type reader struct {
	sync.Mutex
	*Queue[string]
	woken int
}

func newReader() *reader {
	r := &reader{}
	r.Queue = NewQueue(QueueOptions{Items: 2, Bytes: 10, Timeout: time.Second}, &r.Mutex,
		func(s string) int { return len(s) }, func() { r.woken++ })
	return r
}

func (r *reader) take() []string {
	r.Lock()
	defer r.Unlock()
	return r.TakeLocked()
}

func (r *reader) want(t *testing.T, items ...string) {
	t.Helper()
	if got := r.take(); !slices.Equal(got, items) {
		t.Errorf("taken: %q, want %q", got, items)
	}
}

func wantError(t *testing.T, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func TestSendWaitsForRoom(t *testing.T) {
	for what, items := range map[string][]string{"many": {"a", "b"}, "large": {"0123456789"}} {
		synctest.Test(t, func(t *testing.T) {
			r := newReader()
			wantError(t, what, r.Send(items...), nil)
			begin := time.Now()
			// Owned by this bubble; ends after its sleep.
			go func() {
				time.Sleep(time.Second / 2)
				r.want(t, items...)
			}()
			wantError(t, what, r.Send("c"), nil)
			if d := time.Since(begin); d != time.Second/2 {
				t.Errorf("%s: it waited %v", what, d)
			}
			r.want(t, "c")
			if r.woken != 2 {
				t.Errorf("%s: the reader was woken %d times", what, r.woken)
			}
		})
	}
}

func TestSendGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReader()
		wantError(t, "there is room", r.Send("a", "b", "c"), nil)
		begin := time.Now()
		wantError(t, "there is none", r.Send("d"), ErrSlow)
		if d := time.Since(begin); d != time.Second {
			t.Errorf("it waited %v", d)
		}
	})
}

func TestTheEndLetsGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReader()
		wantError(t, "there is room", r.Send("a", "b"), nil)
		// Owned by this bubble; ends at once.
		go func() {
			r.Lock()
			defer r.Unlock()
			if !r.EndLocked() || r.EndLocked() {
				t.Error("there is one end")
			}
		}()
		wantError(t, "over", r.Send("c"), ErrOver)
		wantError(t, "over", r.Post("c"), ErrOver)
		r.want(t, "a", "b")
	})
}

func TestPostDoesNotWait(t *testing.T) {
	r := newReader()
	for range 8 {
		wantError(t, "a little late", r.Post("large as it is"), nil)
	}
	wantError(t, "much too late", r.Post("x"), ErrSlow)
}

func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPace(10, 2, 100, 50)
		begin := time.Now()
		for _, step := range []struct {
			size  int
			after time.Duration
		}{{0, 0}, {100, 0}, {0, 100 * time.Millisecond}, {50, 500 * time.Millisecond}, {1000, 1500 * time.Millisecond}} {
			if !p.Hold(step.size, nil) || time.Since(begin) != step.after {
				t.Errorf("%d bytes after %v, want %v", step.size, time.Since(begin), step.after)
			}
		}
		done := make(chan struct{})
		close(done)
		if p.Hold(100, done) {
			t.Error("it is over")
		}
	})
}
