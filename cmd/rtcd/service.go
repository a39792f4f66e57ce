package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// service runs from the first to the last moment of the process.
type service struct {
	name  string
	run   func(context.Context) error
	vital bool // the process ends, in good order, if it panics; others begin again
}

// panicError is a panic of what contain ran.
type panicError struct {
	value any
	stack string
}

func (p *panicError) Error() string { return fmt.Sprintf("panic: %v", p.value) }

// A service that has panicked begins again after a pause, which doubles each time.
const (
	firstPause   = time.Second
	longestPause = time.Minute
)

// keeper keeps services running.
type keeper struct {
	log    *slog.Logger
	panics prometheus.Counter
}

func newKeeper(log *slog.Logger) *keeper {
	return &keeper{log: log, panics: prometheus.NewCounter(prometheus.CounterOpts{
		Name: "rtcd_panics_total", Help: "Panics of the process's services, which began again or ended the process. Those within relay and hub are counted there.",
	})}
}

// keep runs a service until it returns, and again if it panics, unless it is vital.
func (k *keeper) keep(ctx context.Context, s service) error {
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		err := k.once(ctx, s)
		if s.vital || !errors.As(err, new(*panicError)) {
			return err
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}

// once runs a service; a panic of it is counted and becomes an error.
func (k *keeper) once(ctx context.Context, s service) error {
	err := contain(func() error { return s.run(ctx) })
	var p *panicError
	if !errors.As(err, &p) {
		return err
	}
	k.panics.Inc()
	k.log.Error("panic in a service", "service", s.name, "panic", p.value, "stack", p.stack)
	return fmt.Errorf("%s: %w", s.name, err)
}

// contain runs f; a panic of it becomes an error.
func contain(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &panicError{v, string(debug.Stack())}
		}
	}()
	return f()
}
