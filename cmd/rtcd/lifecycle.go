package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"rtcd/config"
	"rtcd/internal/supervisor"
)

// drainer is what the lifecycle needs of the relay; *turnsrv.Server is one.
type drainer interface {
	// Drain refuses new allocations and lets the live ones go on.
	Drain(on bool)
	// Len is the number of live allocations.
	Len() int
}

// leaver is what the lifecycle needs of the hub; *signaling.Hub is one.
type leaver interface {
	// Drain says goodbye to everybody, who may come back after retry.
	Drain(retry time.Duration)
}

// lifecycle runs services from the first to the last moment of the process.
type lifecycle struct {
	*keeper
	hub    leaver
	turn   drainer
	hangup func(context.Context) // what SIGHUP does; nil = nothing
	status func() string         // what runs, in a line for the service manager; nil = nothing
	asked  chan struct{}         // for a drain, by the admin endpoint

	draining atomic.Bool // what /readyz tells

	mu      sync.Mutex    // guards the following
	timeout time.Duration // of a drain; 0 = none
	min     int           // allocations that may be cut off
}

func newLifecycle(hub leaver, turn drainer, k *keeper, hangup func(context.Context)) *lifecycle {
	return &lifecycle{keeper: k, hub: hub, turn: turn, hangup: hangup, asked: make(chan struct{}, 1)}
}

// set says what the next drain is like.
func (l *lifecycle) set(d config.Drain) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.timeout, l.min = time.Duration(d.Timeout), int(d.Min)
}

// ask begins a drain as SIGTERM does.
func (l *lifecycle) ask() {
	select {
	case l.asked <- struct{}{}:
	default: // somebody has asked
	}
}

// retryHint is when members should try to come back after a goodbye: as long as
// another process takes to start.
const retryHint = 2 * time.Second

// run runs the services until one fails or a signal ends them: SIGTERM after a
// drain, SIGINT or a second SIGTERM at once. It returns when all have returned.
func (l *lifecycle) run(services ...service) error {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGHUP, os.Interrupt)
	defer signal.Stop(signals)
	return l.runWith(signals, services...)
}

func (l *lifecycle) runWith(signals <-chan os.Signal, services ...service) error {
	ctx, end := context.WithCancel(context.Background())
	defer end()
	group, ctx := errgroup.WithContext(ctx)
	for _, s := range services {
		// The group owns it; ctx ends it.
		group.Go(func() error { return l.keep(ctx, s) })
	}
	// The group owns it; a signal or ctx ends it.
	group.Go(func() error {
		defer end()
		l.wait(ctx, signals)
		return nil
	})
	l.ready()
	return group.Wait()
}

// ready tells the service manager that everything is served.
func (l *lifecycle) ready() {
	line := ""
	if l.status != nil {
		line = l.status()
	}
	supervisor.Ready(line)
}

// wait returns when it is time to end.
func (l *lifecycle) wait(ctx context.Context, signals <-chan os.Signal) {
	byTerm := false
	for drain := false; !drain; {
		select {
		case <-ctx.Done():
			return
		case <-l.asked:
			drain = true
		case s := <-signals:
			switch {
			case s == syscall.SIGTERM:
				drain, byTerm = true, true
			case s != syscall.SIGHUP:
				supervisor.Stopping("ending at once")
				l.log.Info("ending at once", "signal", s.String())
				return
			case l.hangup != nil:
				l.hangup(ctx)
			}
		}
	}
	supervisor.Stopping("draining")
	l.drain(ctx, signals, byTerm)
}

// drain lets live allocations go on: readiness first, so that nobody new is sent
// here, then the hub, then the relay. A SIGTERM ends it, unless it is the first: a drain by
// command comes before what stops the service.
func (l *lifecycle) drain(ctx context.Context, signals <-chan os.Signal, byTerm bool) {
	l.mu.Lock()
	timeout, least := l.timeout, l.min
	l.mu.Unlock()
	l.draining.Store(true)
	l.hub.Drain(retryHint)
	l.turn.Drain(true)
	l.log.Info("draining", "allocations", l.turn.Len(), "timeout", timeout.String())
	var late <-chan time.Time
	if timeout > 0 {
		timer := time.NewTimer(timeout)
		defer timer.Stop()
		late = timer.C
	}
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	report := time.NewTicker(reportEvery)
	defer report.Stop()
	l.reportDrain()
	for l.turn.Len() > least {
		select {
		case <-ctx.Done():
			return
		case s := <-signals:
			if s == syscall.SIGHUP {
				continue
			}
			if s == syscall.SIGTERM && !byTerm {
				byTerm = true
				continue
			}
			l.log.Info("ending at once", "signal", s.String(), "allocations", l.turn.Len())
			return
		case <-late:
			l.log.Warn("allocations are cut off at the end of the drain", "allocations", l.turn.Len())
			return
		case <-report.C:
			l.reportDrain()
		case <-tick.C:
		}
	}
	l.log.Info("drained")
}

// reportEvery is how often a drain tells the service manager that it goes on.
const reportEvery = 30 * time.Second

// reportDrain has the service manager wait, however short its own limit: a drain has one
// in drain.timeout.
func (l *lifecycle) reportDrain() {
	supervisor.More(2 * reportEvery)
	supervisor.Status(fmt.Sprintf("draining, %d allocations are left", l.turn.Len()))
}
