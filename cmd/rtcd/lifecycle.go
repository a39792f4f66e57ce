package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sync/errgroup"
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
	hub     leaver
	turn    drainer
	log     *slog.Logger
	timeout time.Duration // of a drain; 0 = none
	min     int           // allocations that may be cut off

	draining atomic.Bool // what /readyz tells
}

// retryHint is when members should try to come back after a goodbye: as long as
// another process takes to start.
const retryHint = 2 * time.Second

// run runs the services until one fails or a signal ends them: SIGTERM after a
// drain, SIGINT or a second SIGTERM at once. It returns when all have returned.
func (l *lifecycle) run(services ...func(context.Context) error) error {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt)
	defer signal.Stop(signals)
	return l.runWith(signals, services...)
}

func (l *lifecycle) runWith(signals <-chan os.Signal, services ...func(context.Context) error) error {
	ctx, end := context.WithCancel(context.Background())
	defer end()
	group, ctx := errgroup.WithContext(ctx)
	for _, service := range services {
		// The group owns it; ctx ends it.
		group.Go(func() error { return service(ctx) })
	}
	// The group owns it; a signal or ctx ends it.
	group.Go(func() error {
		defer end()
		l.wait(ctx, signals)
		return nil
	})
	daemon.SdNotify(false, daemon.SdNotifyReady)
	return group.Wait()
}

// wait returns when it is time to end.
func (l *lifecycle) wait(ctx context.Context, signals <-chan os.Signal) {
	select {
	case <-ctx.Done():
		return
	case s := <-signals:
		daemon.SdNotify(false, daemon.SdNotifyStopping)
		if s != syscall.SIGTERM {
			l.log.Info("ending at once", "signal", s.String())
			return
		}
	}
	l.drain(ctx, signals)
}

// drain lets live allocations go on: readiness first, so that nobody new is sent
// here, then the hub, then the relay.
func (l *lifecycle) drain(ctx context.Context, signals <-chan os.Signal) {
	l.draining.Store(true)
	l.hub.Drain(retryHint)
	l.turn.Drain(true)
	l.log.Info("draining", "allocations", l.turn.Len(), "timeout", l.timeout.String())
	var late <-chan time.Time
	if l.timeout > 0 {
		timer := time.NewTimer(l.timeout)
		defer timer.Stop()
		late = timer.C
	}
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for l.turn.Len() > l.min {
		select {
		case <-ctx.Done():
			return
		case s := <-signals:
			l.log.Info("ending at once", "signal", s.String(), "allocations", l.turn.Len())
			return
		case <-late:
			l.log.Warn("allocations are cut off at the end of the drain", "allocations", l.turn.Len())
			return
		case <-tick.C:
		}
	}
	l.log.Info("drained")
}
