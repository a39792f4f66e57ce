package signaling

import (
	"container/heap"
	"context"
	"sync"
	"time"
)

// agenda wakes items when they are due: one timer for all pings, credentials,
// resume windows and waiting signals of a hub.
type agenda struct {
	mu     sync.Mutex // guards the heap and every slot in it
	heap   slots
	nudged chan struct{} // there is something earlier
}

// item is somebody with deadlines. due handles what is due and returns the next
// deadline, zero for none. It must not block.
type item interface{ due(now time.Time) time.Time }

// slot is an item's place in the agenda; embed one in each item.
type slot struct {
	at    time.Time
	item  item
	index int // in the heap, from 1; 0 = not in it
}

func newAgenda() *agenda { return &agenda{nudged: make(chan struct{}, 1)} }

// set moves the slot to at; zero takes it out.
func (a *agenda) set(s *slot, at time.Time) {
	a.mu.Lock()
	s.at = at
	switch {
	case at.IsZero() && s.index > 0:
		heap.Remove(&a.heap, s.index-1)
	case at.IsZero():
	case s.index > 0:
		heap.Fix(&a.heap, s.index-1)
	default:
		heap.Push(&a.heap, s)
	}
	first := s.index == 1
	a.mu.Unlock()
	if first {
		select {
		case a.nudged <- struct{}{}:
		default:
		}
	}
}

// sooner moves the slot to at if that is earlier than what it has.
func (a *agenda) sooner(s *slot, at time.Time) {
	if at.IsZero() {
		return
	}
	a.mu.Lock()
	later := s.index > 0 && !at.Before(s.at)
	a.mu.Unlock()
	if !later {
		a.set(s, at)
	}
}

// run wakes items until ctx is done.
func (a *agenda) run(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		timer.Reset(a.wake(time.Now()))
		select {
		case <-ctx.Done():
			return
		case <-a.nudged:
		case <-timer.C:
		}
	}
}

// wake lets all that are due do their work, and returns how long to sleep.
func (a *agenda) wake(now time.Time) time.Duration {
	for {
		a.mu.Lock()
		if len(a.heap) == 0 {
			a.mu.Unlock()
			return time.Hour
		}
		s := a.heap[0]
		if wait := s.at.Sub(now); wait > 0 {
			a.mu.Unlock()
			return wait
		}
		heap.Pop(&a.heap)
		a.mu.Unlock()
		a.sooner(s, s.item.due(now))
	}
}

// slots implements heap.Interface.
type slots []*slot

func (h slots) Len() int           { return len(h) }
func (h slots) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h slots) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i+1, j+1
}

func (h *slots) Push(x any) {
	s := x.(*slot)
	*h = append(*h, s)
	s.index = len(*h)
}

func (h *slots) Pop() any {
	old := *h
	s := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	s.index = 0
	return s
}
