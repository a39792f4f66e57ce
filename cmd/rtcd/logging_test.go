package main

import (
	"log/slog"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"rtcd/config"
	"rtcd/turnsrv/relay"
)

// disk is one that can be full.
type disk struct {
	strings.Builder
	full bool
}

func (d *disk) Write(b []byte) (int, error) {
	if d.full {
		return 0, syscall.ENOSPC
	}
	return d.Builder.Write(b)
}

// What does not get into the log is counted, and the log goes on when it can.
func TestLinesThatAreNotLoggedAreCounted(t *testing.T) {
	c, err := config.Load(config.Input{})
	if err != nil {
		t.Fatal(err)
	}
	var d disk
	var dropped atomic.Uint64
	log := newLogger(c, new(slog.LevelVar), lossyWriter{&d, &dropped})
	log.Info("first")
	d.full = true
	log.Info("second")
	log.Info("third")
	d.full = false
	log.Info("fourth")
	if text := d.String(); !strings.Contains(text, "first") || strings.Contains(text, "third") || !strings.Contains(text, "fourth") {
		t.Errorf("the log is\n%s", text)
	}

	events := newEventLog(log, &dropped)
	const tooMany = 5
	for range cap(events.queue) + tooMany {
		events.put(relay.Event{Kind: relay.Allocated})
	}
	if n := dropped.Load(); n != 2+tooMany {
		t.Errorf("%d lines and events are counted as dropped, want %d", n, 2+tooMany)
	}
}

// TestErrorsGoByOneName: whoever logs them.
func TestErrorsGoByOneName(t *testing.T) {
	c, err := config.Load(config.Input{})
	if err != nil {
		t.Fatal(err)
	}
	var d disk
	log := newLogger(c, new(slog.LevelVar), &d)
	log.Info("one", "error", "a")
	log.With("error", "b").Info("two", "err", "c")
	if text := d.String(); strings.Contains(text, `"error"`) || strings.Count(text, `"err"`) != 3 {
		t.Errorf("the log is\n%s", text)
	}
}
