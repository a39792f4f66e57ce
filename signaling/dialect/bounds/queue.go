package bounds

import (
	"errors"
	"sync"
	"time"
)

// What Send and Post return.
var (
	ErrOver = errors.New("bounds: the channel has ended")
	ErrSlow = errors.New("bounds: the client is too slow")
)

// QueueOptions are a queue's limits.
type QueueOptions struct {
	Items   int           // waiting before Send waits; Post goes four times as far
	Bytes   int           // waiting before Send waits
	Timeout time.Duration // how long Send waits
}

// Queue holds what is to go out on one channel. Its lock is the channel's, like a
// sync.Cond's: the methods whose names end in Locked want it held, the others not.
type Queue[T any] struct {
	o    QueueOptions
	lock sync.Locker
	size func(T) int
	wake func()        // there is something to take; called with the lock held
	done chan struct{} // closed when over

	items []T
	bytes int
	room  chan struct{} // closed when the queue was taken; nil when nobody waits
	over  bool
}

// NewQueue returns an empty queue. Size is an item's in bytes; wake is called whenever
// something was queued, with the lock held.
func NewQueue[T any](o QueueOptions, lock sync.Locker, size func(T) int, wake func()) *Queue[T] {
	return &Queue[T]{o: o, lock: lock, size: size, wake: wake, done: make(chan struct{})}
}

// Send queues items, one after the other. It waits while too much is queued, for Timeout at
// most; after ErrSlow the caller cuts the channel off.
func (q *Queue[T]) Send(items ...T) error {
	var timeout <-chan time.Time
	q.lock.Lock()
	defer q.lock.Unlock()
	for !q.over && (len(q.items) >= q.o.Items || q.bytes >= q.o.Bytes) {
		if q.room == nil {
			q.room = make(chan struct{})
		}
		if timeout == nil {
			timer := time.NewTimer(q.o.Timeout)
			defer timer.Stop()
			timeout = timer.C
		}
		if !q.await(q.room, timeout) {
			return ErrSlow
		}
	}
	if q.over {
		return ErrOver
	}
	q.PushLocked(items...)
	return nil
}

// await lets go of the lock until there is room or the end; false is the timeout.
func (q *Queue[T]) await(room <-chan struct{}, timeout <-chan time.Time) bool {
	q.lock.Unlock()
	defer q.lock.Lock()
	select {
	case <-room:
	case <-q.done:
	case <-timeout:
		return false
	}
	return true
}

// Post queues answers to the client's own messages without waiting. After ErrSlow the
// caller cuts off a client that asks on and on but does not read.
func (q *Queue[T]) Post(items ...T) error {
	q.lock.Lock()
	defer q.lock.Unlock()
	switch {
	case q.over:
		return ErrOver
	case len(q.items) >= 4*q.o.Items:
		return ErrSlow
	}
	q.PushLocked(items...)
	return nil
}

// PushLocked queues items, even after the end: last words.
func (q *Queue[T]) PushLocked(items ...T) {
	for _, i := range items {
		q.bytes += q.size(i)
	}
	q.items = append(q.items, items...)
	q.wake()
}

// TakeLocked empties the queue.
func (q *Queue[T]) TakeLocked() []T {
	items := q.items
	q.items, q.bytes = nil, 0
	if q.room != nil {
		close(q.room)
		q.room = nil
	}
	return items
}

// LenLocked is the number of items.
func (q *Queue[T]) LenLocked() int { return len(q.items) }

// EndLocked is the end: nothing more is sent or posted. It returns false if it was over.
func (q *Queue[T]) EndLocked() bool {
	if q.over {
		return false
	}
	q.over = true
	close(q.done)
	return true
}

// OverLocked says whether the end has been.
func (q *Queue[T]) OverLocked() bool { return q.over }

// Done is closed at the end.
func (q *Queue[T]) Done() <-chan struct{} { return q.done }
