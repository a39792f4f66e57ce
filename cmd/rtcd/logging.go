package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"rtcd/config"
	"rtcd/turnsrv/relay"
)

// newLogger writes to w: text for people on a terminal, JSON for programs. The level
// may be changed at any time.
func newLogger(c *config.Loaded, level *slog.LevelVar, w io.Writer) *slog.Logger {
	level.Set(logLevel(c.Log.Level))
	options := &slog.HandlerOptions{Level: level, ReplaceAttr: stableKeys}
	if c.Log.Format == "text" || c.Log.Format == "auto" && isTerminal(w) {
		return slog.New(slog.NewTextHandler(w, options))
	}
	return slog.New(slog.NewJSONHandler(w, options))
}

// stableKeys has an error go by one name wherever it was logged. The other keys that
// programs may rest on are event, allocation, user, member, client, relay and peer; the
// user part of a member's credentials is its id, so that one search finds all of a call.
func stableKeys(_ []string, a slog.Attr) slog.Attr {
	if a.Key == "error" {
		a.Key = "err"
	}
	return a
}

// logDropped tells Prometheus what did not get into the log.
func logDropped(n *atomic.Uint64) prometheus.Collector {
	return prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "rtcd_log_dropped_total", Help: "Lines that could not be written to the log, and events that it was too slow for.",
	}, func() float64 { return float64(n.Load()) })
}

// logLevel is log.level, which config has validated.
func logLevel(text config.LogLevel) (level slog.Level) {
	level.UnmarshalText([]byte(text))
	return level
}

// lossyWriter counts the lines that could not be written, as on a full disk. The next one
// is tried again.
type lossyWriter struct {
	w       io.Writer
	dropped *atomic.Uint64
}

func (l lossyWriter) Write(line []byte) (int, error) {
	n, err := l.w.Write(line)
	if err != nil {
		l.dropped.Add(1)
	}
	return n, err
}

func isTerminal(w io.Writer) bool {
	if l, ok := w.(lossyWriter); ok {
		w = l.w
	}
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// eventLog writes the relay's events to the log. The relay must never wait for a
// log, so events that find the queue full are counted and left out.
type eventLog struct {
	log   *slog.Logger
	queue chan relay.Event
	lost  atomic.Uint64 // since the last line that told

	dropped *atomic.Uint64 // in all
}

func newEventLog(log *slog.Logger, dropped *atomic.Uint64) *eventLog {
	return &eventLog{log: log, queue: make(chan relay.Event, 1024), dropped: dropped}
}

// put is the relay's OnEvent.
func (e *eventLog) put(event relay.Event) {
	if event.Kind == relay.Refreshed && !e.log.Enabled(context.Background(), slog.LevelDebug) {
		return
	}
	select {
	case e.queue <- event:
	default:
		e.lost.Add(1)
		e.dropped.Add(1)
	}
}

// Run writes until the queue is closed, which its only writer does when it ends.
func (e *eventLog) Run(context.Context) error {
	for event := range e.queue {
		e.write(event)
	}
	return nil
}

func (e *eventLog) write(event relay.Event) {
	if n := e.lost.Swap(0); n > 0 {
		e.log.Warn("events of allocations were not logged", "events", n)
	}
	i := event.Info
	attrs := []slog.Attr{
		slog.String("event", ""), slog.Uint64("allocation", i.ID), slog.String("user", i.User),
		slog.String("client", i.Client.String()), slog.String("transport", i.Transport.String()),
		slog.Any("relay", i.Relays),
	}
	var level slog.Level
	var message, what string
	switch event.Kind {
	case relay.Allocated:
		level, message, what = slog.LevelInfo, "allocation made", "allocation_made"
	case relay.Refreshed:
		level, message, what = slog.LevelDebug, "allocation refreshed", "allocation_refreshed"
	case relay.Closed:
		level, message, what = slog.LevelInfo, "allocation closed", "allocation_closed"
		attrs = append(attrs, slog.String("reason", event.Reason),
			slog.Int("peers", i.Peers), slog.Uint64("sent_bytes", i.SentBytes), slog.Uint64("sent_packets", i.SentPackets),
			slog.Uint64("received_bytes", i.ReceivedBytes), slog.Uint64("received_packets", i.ReceivedPackets))
	default:
		return
	}
	attrs[0].Value = slog.StringValue(what)
	e.log.LogAttrs(context.Background(), level, message, attrs...)
}
