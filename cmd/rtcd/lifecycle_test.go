package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"rtcd/config"
)

// fakeHalves stand for relay and hub: they count, and record the order of things.
type fakeHalves struct {
	allocations atomic.Int64
	events      chan string
}

func (f *fakeHalves) Len() int { return int(f.allocations.Load()) }

type fakeTurn struct{ *fakeHalves }

func (f fakeTurn) Drain(bool) { f.events <- "turn" }

type fakeHub struct{ *fakeHalves }

func (f fakeHub) Drain(time.Duration) { f.events <- "hub" }

// process is a lifecycle under test in a bubble of fake time.
type process struct {
	*lifecycle
	*fakeHalves
	signals chan os.Signal
	ended   chan error
	start   time.Time
}

func startProcess(allocations int64, timeout time.Duration, least int) *process {
	halves := &fakeHalves{events: make(chan string, 8)}
	halves.allocations.Store(allocations)
	p := &process{
		lifecycle: &lifecycle{
			hub: fakeHub{halves}, turn: fakeTurn{halves}, keeper: newKeeper(slog.New(slog.DiscardHandler)),
			timeout: timeout, min: least, asked: make(chan struct{}, 1),
		},
		fakeHalves: halves, signals: make(chan os.Signal, 2), ended: make(chan error, 1), start: time.Now(),
	}
	// The test owns it; wantEnd waits for it.
	go func() {
		p.ended <- p.runWith(p.signals, service{run: func(ctx context.Context) error { <-ctx.Done(); return nil }})
	}()
	return p
}

// wantEnd says when the process must have ended, since its start.
func (p *process) wantEnd(t *testing.T, after time.Duration) {
	t.Helper()
	if err := <-p.ended; err != nil {
		t.Error(err)
	}
	if got := time.Since(p.start); got != after {
		t.Errorf("ended after %v, want %v", got, after)
	}
}

func TestDrainWaitsForTheLastAllocation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startProcess(2, 300*time.Second, 0)
		time.Sleep(10 * time.Second)
		p.signals <- syscall.SIGTERM
		synctest.Wait()
		if !p.draining.Load() {
			t.Error("it says it is ready while it drains")
		}
		if first, second := <-p.events, <-p.events; first != "hub" || second != "turn" {
			t.Errorf("drained %s, then %s", first, second)
		}
		time.Sleep(time.Minute)
		p.allocations.Store(1)
		time.Sleep(time.Minute + time.Millisecond) // just after it looked
		p.allocations.Store(0)
		p.wantEnd(t, 130*time.Second+200*time.Millisecond)
	})
}

func TestDrainEnds(t *testing.T) {
	for name, c := range map[string]struct {
		timeout time.Duration
		min     int
		second  os.Signal // sent 20 s after the first
		after   time.Duration
	}{
		"at its timeout":          {300 * time.Second, 0, nil, 300 * time.Second},
		"at enough allocations":   {300 * time.Second, 2, nil, 0},
		"at the second SIGTERM":   {300 * time.Second, 0, syscall.SIGTERM, 20 * time.Second},
		"at SIGINT":               {300 * time.Second, 0, os.Interrupt, 20 * time.Second},
		"without timeout at last": {0, 0, syscall.SIGTERM, 20 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			t.Log(name)
			p := startProcess(2, c.timeout, c.min)
			p.signals <- syscall.SIGTERM
			if c.second != nil {
				time.Sleep(20 * time.Second)
				p.signals <- c.second
			}
			p.wantEnd(t, c.after)
		})
	}
}

func TestInterruptEndsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startProcess(2, 300*time.Second, 0)
		p.signals <- os.Interrupt
		p.wantEnd(t, 0)
		if len(p.events) != 0 {
			t.Error("it drained")
		}
	})
}

// SIGHUP reloads, and ends nothing; not even a drain.
func TestHangup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startProcess(2, 300*time.Second, 0)
		p.hangup = func(context.Context) { p.events <- "reload" }
		p.signals <- syscall.SIGHUP
		p.signals <- syscall.SIGHUP
		synctest.Wait()
		if p.draining.Load() || len(p.events) != 2 {
			t.Errorf("draining %t, %d reloads", p.draining.Load(), len(p.events))
		}
		p.set(config.Drain{Timeout: config.Duration(20 * time.Second)})
		p.signals <- syscall.SIGTERM
		time.Sleep(10 * time.Second)
		p.signals <- syscall.SIGHUP
		p.wantEnd(t, 20*time.Second)
	})
}

// Asked by command, it drains as on SIGTERM. Whoever stops the service then, as Kubernetes
// does, lets it go on; a second SIGTERM ends it.
func TestDrainByCommand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startProcess(2, 300*time.Second, 0)
		p.ask()
		p.ask()
		synctest.Wait()
		if !p.draining.Load() {
			t.Error("it does not drain")
		}
		time.Sleep(time.Minute)
		p.signals <- syscall.SIGTERM
		time.Sleep(time.Minute)
		p.signals <- syscall.SIGTERM
		p.wantEnd(t, 2*time.Minute)
	})
}

func TestAFailedServiceEndsTheOthers(t *testing.T) {
	broken := errors.New("broken")
	l := &lifecycle{keeper: newKeeper(slog.New(slog.DiscardHandler))}
	others := 0
	err := l.runWith(nil, service{run: func(context.Context) error { return broken }},
		service{run: func(ctx context.Context) error { <-ctx.Done(); others++; return nil }})
	if !errors.Is(err, broken) || others != 1 {
		t.Errorf("%v, %d others ended", err, others)
	}
}
