package accounting

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Options are fixed at birth.
type Options struct {
	// Live lists the live allocations as interim records, for whoever asks.
	Live func() []Record
	// Place finds the member of the hub that a user is.
	Place func(user string) Place
	// Also gets each record as JSON, to keep; it must not wait. nil is nobody.
	Also func(line []byte)
	Log  *slog.Logger
}

// Ledger takes records from whoever must not wait and hands them to the sinks. Make one
// with New, run it with Run.
type Ledger struct {
	o       Options
	queue   chan Record
	metrics *metrics
	places  map[string]Place  // of live allocations, by ID; Run's
	told    map[string]uint64 // packets at the last interim record, likewise

	interim atomic.Int64 // nanoseconds; 0 = never
	changed chan struct{}

	mu   sync.Mutex // guards the following
	file *File      // nil: none
	bad  bool       // the last line could not be written
}

// queueLength is how many records may wait for a slow disk.
const queueLength = 8192

// New returns a ledger without sinks.
func New(o Options) *Ledger {
	return &Ledger{
		o: o, queue: make(chan Record, queueLength), metrics: newMetrics(),
		places: map[string]Place{}, told: map[string]uint64{}, changed: make(chan struct{}, 1),
	}
}

// Collector returns the ledger's metrics.
func (l *Ledger) Collector() prometheus.Collector { return l.metrics }

// SetInterim says how often live allocations are told, from now on; 0 = never.
func (l *Ledger) SetInterim(d time.Duration) {
	l.interim.Store(int64(d))
	select {
	case l.changed <- struct{}{}:
	default:
	}
}

// SetFile replaces the file; nil is none. The one before is closed, unless it is the same.
func (l *Ledger) SetFile(f *File) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file != nil && l.file != f {
		l.file.Close()
	}
	l.file = f
}

// File is the file in use, nil for none.
func (l *Ledger) File() *File {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.file
}

// Put takes a record at once. One that finds the queue full is dropped and counted.
func (l *Ledger) Put(r Record) {
	select {
	case l.queue <- r:
	default:
		l.metrics.drop("queue", 1)
	}
}

// Lost counts records that a sink has lost which is not the ledger's own.
func (l *Ledger) Lost(sink string, n int) { l.metrics.drop(sink, n) }

// Close says that no record will come any more; only whoever calls Put may.
func (l *Ledger) Close() { close(l.queue) }

// tidyEvery is how often the file is looked after.
const tidyEvery = 10 * time.Minute

// Run hands records on until Close, and then what is left. ctx is not the end: the last
// records are made after it.
func (l *Ledger) Run(context.Context) error {
	tidy := time.NewTicker(tidyEvery)
	defer tidy.Stop()
	balance := time.NewTicker(time.Hour)
	defer balance.Stop()
	reset := func() {
		if d := time.Duration(l.interim.Load()); d > 0 {
			balance.Reset(d)
		} else {
			balance.Stop()
		}
	}
	reset()
	for {
		select {
		case r, ok := <-l.queue:
			if !ok {
				l.SetFile(nil)
				return nil
			}
			l.place(&r)
			l.write(&r)
		case <-balance.C:
			l.balance()
		case <-l.changed:
			reset()
		case <-tidy.C:
			if f := l.File(); f != nil {
				f.Tidy()
			}
			l.forget(l.o.Live())
		}
	}
}

// balance writes an interim record for each allocation that has relayed something since
// its last one.
func (l *Ledger) balance() {
	live := l.o.Live()
	for _, r := range live {
		if n := r.relayed(); n > l.told[r.ID] {
			l.told[r.ID] = n
			l.place(&r)
			l.write(&r)
		}
	}
	l.forget(live)
}

// forget drops what is remembered of allocations that are gone and whose stop was lost: it
// is not in the queue any more.
func (l *Ledger) forget(live []Record) {
	if len(l.queue) > 0 {
		return
	}
	here := make(map[string]bool, len(live))
	for _, r := range live {
		here[r.ID] = true
	}
	maps.DeleteFunc(l.places, func(id string, _ Place) bool { return !here[id] })
	maps.DeleteFunc(l.told, func(id string, _ uint64) bool { return !here[id] })
}

// place says where the member of a record is. At the stop it may have left: then it is
// where it was last seen.
func (l *Ledger) place(r *Record) {
	p := l.o.Place(r.User)
	if before := l.places[r.ID]; p.Member == "" || len(p.Rooms) == 0 && len(before.Rooms) > 0 {
		if before.Member != "" {
			p = before
		}
	}
	r.Place = p
	if r.Event == Stop {
		delete(l.places, r.ID)
		delete(l.told, r.ID)
	} else if p.Member != "" {
		l.places[r.ID] = p
	}
}

func (l *Ledger) write(r *Record) {
	line, err := json.Marshal(r)
	if err != nil { // nothing in a record can fail
		l.o.Log.Error("an accounting record cannot be written", "id", r.ID, "err", err)
		return
	}
	l.metrics.made(r.Event)
	if l.o.Also != nil {
		l.o.Also(line[:len(line):len(line)])
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return
	}
	err = l.file.Write(append(line, '\n'))
	if err != nil {
		l.metrics.drop("file", 1)
	}
	if bad := err != nil; bad != l.bad {
		l.bad = bad
		if bad {
			l.o.Log.Error("accounting records cannot be written to their file and are lost", "file", l.file.Path(), "err", err)
		} else {
			l.o.Log.Info("accounting records are written again", "file", l.file.Path())
		}
	}
}
