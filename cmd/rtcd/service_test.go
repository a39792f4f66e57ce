package main

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// A service that panics begins again, later each time; the others do not notice.
func TestAPanicOfAServiceIsContained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		k := newKeeper(slog.New(slog.NewTextHandler(&log, nil)))
		ctx, end := context.WithCancel(t.Context())
		start := time.Now()
		var begun []time.Duration
		l := &lifecycle{keeper: k}
		err := l.runWith(nil, service{name: "weak", run: func(ctx context.Context) error {
			begun = append(begun, time.Since(start))
			if len(begun) == 9 {
				end()
				return nil
			}
			panic("planted")
		}}, service{name: "other", run: func(context.Context) error {
			<-ctx.Done()
			return errors.New("the end of the test")
		}})
		if err == nil || err.Error() != "the end of the test" {
			t.Error(err)
		}
		want := []float64{0, 1, 3, 7, 15, 31, 63, 123, 183} // seconds
		for i := range begun {
			if begun[i].Seconds() != want[i] {
				t.Fatalf("it began after %v, want %v", begun, want)
			}
		}
		if n := testutil.ToFloat64(k.panics); n != 8 {
			t.Errorf("%v panics counted, want 8", n)
		}
		if !strings.Contains(log.String(), "service=weak panic=planted") {
			t.Errorf("the log does not say who panicked and why: %s", log.String())
		}
	})
}

// Without the relay or the hub there is nothing to go on for: the process ends as after
// any failure, and says why.
func TestAPanicOfAVitalServiceEndsInGoodOrder(t *testing.T) {
	k := newKeeper(slog.New(slog.DiscardHandler))
	l := &lifecycle{keeper: k}
	others := 0
	err := l.runWith(nil, service{name: "relay", vital: true, run: func(context.Context) error { panic("planted") }},
		service{name: "other", run: func(ctx context.Context) error { <-ctx.Done(); others++; return nil }})
	if err == nil || err.Error() != "relay: panic: planted" || others != 1 {
		t.Errorf("%v, %d others ended", err, others)
	}
}
