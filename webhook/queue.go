package webhook

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"
)

// QueueOptions are fixed at birth; zero means the default in parentheses.
type QueueOptions struct {
	Client  *Client
	Dropped func(n int)   // is told how many records were lost
	Records int           // that may wait (10,000) …
	Bytes   int           // … and their bytes together (16 MiB)
	Batch   int           // records in one request (100)
	First   time.Duration // pause after a failure, doubling (1 s) …
	Longest time.Duration // … up to this (5 min)
	Timeout time.Duration // of one request (10 s)
	Log     *slog.Logger
}

func (o QueueOptions) withDefaults() QueueOptions {
	set := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	wait := func(v *time.Duration, d time.Duration) {
		if *v == 0 {
			*v = d
		}
	}
	set(&o.Records, 10_000)
	set(&o.Bytes, 16<<20)
	set(&o.Batch, 100)
	wait(&o.First, time.Second)
	wait(&o.Longest, 5*time.Minute)
	wait(&o.Timeout, 10*time.Second)
	return o
}

// Queue delivers records in their order, in batches: {"records": […]}. What cannot be
// delivered is tried again, at growing distances, as long as there is room; then the
// oldest are lost and counted. A receiver may get a delivery twice, under one name in the
// header Rtcd-Delivery: after a try whose answer was lost. A batch that the receiver says it will never take (400,
// 404, 405, 410, 413, 422) is lost at once. It is kept in memory only: what matters is in
// the files too.
type Queue struct {
	o     QueueOptions
	woken chan struct{}

	mu      sync.Mutex // guards the following
	address string     // "" = off
	waiting [][]byte
	bytes   int
	batch   int    // the first so many of waiting are one delivery, of this …
	id      string // … name, until it is settled
	sending int    // batch while it is on its way, else 0
	failing bool
}

// NewQueue returns a queue that is off: see Queue.SetAddress.
func NewQueue(o QueueOptions) *Queue {
	return &Queue{o: o.withDefaults(), woken: make(chan struct{}, 1)}
}

// SetAddress says where records go from now on; "" is nowhere, and what waits is lost.
func (q *Queue) SetAddress(address string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.address = address
	if address == "" {
		q.dropLocked(len(q.waiting) - q.sending)
	}
	q.wake()
}

// Put queues a record, which is one JSON value and not changed afterwards. It never waits.
func (q *Queue) Put(record []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.address == "" {
		return
	}
	q.waiting = append(q.waiting, record)
	q.bytes += len(record)
	n, bytes := 0, q.bytes
	for n < len(q.waiting)-q.sending && (len(q.waiting)-n > q.o.Records || bytes > q.o.Bytes) {
		bytes -= len(q.waiting[q.sending+n])
		n++
	}
	q.dropLocked(n)
	q.wake()
}

// Len is how many records wait.
func (q *Queue) Len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting)
}

// dropLocked loses the n oldest that are not on their way.
func (q *Queue) dropLocked(n int) {
	if n <= 0 {
		return
	}
	for _, r := range q.waiting[q.sending : q.sending+n] {
		q.bytes -= len(r)
	}
	q.waiting = append(q.waiting[:q.sending:q.sending], q.waiting[q.sending+n:]...)
	if q.sending == 0 {
		q.batch = 0 // another one, for its first are lost
	}
	q.o.Dropped(n)
}

func (q *Queue) wake() {
	select {
	case q.woken <- struct{}{}:
	default:
	}
}

// Run delivers until ctx is done, and tries once more what waits then.
func (q *Queue) Run(ctx context.Context) error {
	pause := q.o.First
	for {
		wait, more := q.deliver(ctx)
		switch {
		case ctx.Err() != nil:
			q.last(context.WithoutCancel(ctx))
			return nil
		case wait == 0:
			pause = q.o.First
		default:
			wait = max(pause, min(wait, q.o.Longest))
			pause = min(2*pause, q.o.Longest)
		}
		if wait == 0 && more {
			continue
		}
		q.sleep(ctx, wait)
	}
}

// sleep waits for a time, or for something to deliver if there is none to wait for.
func (q *Queue) sleep(ctx context.Context, wait time.Duration) {
	if wait == 0 {
		select {
		case <-ctx.Done():
		case <-q.woken:
		}
		return
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// last delivers what is left as long as that works.
func (q *Queue) last(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, q.o.Timeout)
	defer cancel()
	for {
		if wait, more := q.deliver(ctx); wait > 0 || !more {
			break
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if n := len(q.waiting); n > 0 {
		q.dropLocked(n)
		q.o.Log.Warn("records for the webhook are lost at the end", "records", n)
	}
}

// deliver sends one batch. It returns how long to wait after a failure, and whether there
// is more to send.
func (q *Queue) deliver(ctx context.Context) (wait time.Duration, more bool) {
	address, id, batch := q.take()
	if len(batch) == 0 {
		return 0, false
	}
	raw := make([]json.RawMessage, len(batch))
	for i, r := range batch {
		raw[i] = r
	}
	body, err := json.Marshal(map[string]any{"records": raw})
	answer := Answer{}
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, q.o.Timeout)
		defer cancel()
		answer, err = q.o.Client.Post(ctx, address, id, body)
	}
	if err == nil && answer.Status/100 != 2 {
		err = fmt.Errorf("the receiver says %d %s", answer.Status, http.StatusText(answer.Status))
	}
	final := never[answer.Status]
	if err == nil || final {
		return 0, q.settle(err, final)
	}
	q.settle(err, false)
	return max(answer.Wait, time.Nanosecond), true
}

// never are answers that the next try would get again.
var never = map[int]bool{
	http.StatusBadRequest: true, http.StatusNotFound: true, http.StatusMethodNotAllowed: true,
	http.StatusGone: true, http.StatusRequestEntityTooLarge: true, http.StatusUnprocessableEntity: true,
}

// take returns what is to be delivered now: the same again, under the same name, after a
// try that has failed, for it may have arrived.
func (q *Queue) take() (address, id string, batch [][]byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.address == "" {
		return "", "", nil
	}
	if q.batch == 0 {
		q.batch, q.id = min(len(q.waiting), q.o.Batch), rand.Text()
	}
	q.sending = q.batch
	return q.address, q.id, q.waiting[:q.sending:q.sending]
}

// settle forgets what was on its way, if it has arrived or never will, and tells the log
// when deliveries begin to fail and when they work again.
func (q *Queue) settle(err error, final bool) (more bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := q.sending
	q.sending = 0
	switch {
	case err == nil:
		for _, r := range q.waiting[:n] {
			q.bytes -= len(r)
		}
		q.waiting, q.batch = q.waiting[n:], 0
	case final:
		q.dropLocked(n)
	case q.address == "":
		q.dropLocked(len(q.waiting))
	}
	if failing := err != nil; failing != q.failing {
		q.failing = failing
		if failing {
			q.o.Log.Warn("the webhook does not take records; trying again", "final", final, "waiting", len(q.waiting), "err", err)
		} else {
			q.o.Log.Info("the webhook takes records again")
		}
	}
	return len(q.waiting) > 0
}
