package supervisor

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// Check is one thing that a living process does. Do returns nil if it was done, and must
// return soon after its context is done.
type Check struct {
	Name string
	Do   func(context.Context) error
}

// Watchdog reports life to the service manager, as long as there is some.
type Watchdog struct {
	Checks func() []Check // asked anew for each round
	Log    *slog.Logger
}

// Run makes a round of checks twice in each $WATCHDOG_USEC, and reports life when all of
// one round have passed. A round has until the next one is due. Where no watchdog
// watches, Run waits for ctx.
func (w *Watchdog) Run(ctx context.Context) error {
	limit, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		w.Log.Warn("the service manager's watchdog cannot be fed", "error", err)
	}
	if err != nil || limit == 0 {
		<-ctx.Done()
		return nil
	}
	tick := time.NewTicker(limit / 2)
	defer tick.Stop()
	for {
		w.round(ctx, limit/2)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// round makes all checks once.
func (w *Watchdog) round(ctx context.Context, limit time.Duration) {
	defer func() {
		if v := recover(); v != nil {
			w.Log.Error("recovered from a panic", "panic", v, "stack", string(debug.Stack()))
		}
	}()
	if err := Pass(ctx, limit, w.Checks()); err == nil {
		tell(daemon.SdNotifyWatchdog)
	} else if ctx.Err() == nil {
		w.Log.Error("this process does not do its work; the service manager will start it anew", "error", err)
		Status(err.Error())
	}
}

// Pass makes checks, all at once, and returns the error of the first in their order that
// failed or took longer than limit.
func Pass(ctx context.Context, limit time.Duration, checks []Check) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	done := make([]chan error, len(checks))
	for i, c := range checks {
		done[i] = make(chan error, 1)
		// Pass owns it and waits for it; ctx ends it.
		go func() { done[i] <- c.guarded(ctx) }()
	}
	var first error
	for i, c := range checks {
		if err := <-done[i]; err != nil && first == nil {
			first = fmt.Errorf("%s: %w", c.Name, err)
		}
	}
	return first
}

func (c Check) guarded(ctx context.Context) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v", v)
		}
	}()
	return c.Do(ctx)
}
