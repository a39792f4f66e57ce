package creds

import (
	"container/heap"
	"time"
)

// seenGrace is how long a username stays known after it was last seen valid,
// if its credential expires earlier: twice the longest lifetime of an allocation.
const seenGrace = 2 * time.Hour

type seenEntry struct {
	username string
	until    time.Time
}

// seen maps USERHASH to username. It is bounded: when it is full, entries whose
// time has passed go (looked for at most once a minute), else any one goes.
type seen struct {
	max     int
	entries map[[32]byte]seenEntry
	swept   time.Time
}

func (s *seen) add(hash [32]byte, e seenEntry, now time.Time) {
	if _, known := s.entries[hash]; !known && len(s.entries) >= s.max {
		s.makeRoom(now)
	}
	s.entries[hash] = e
}

func (s *seen) makeRoom(now time.Time) {
	if now.Sub(s.swept) >= time.Minute {
		s.swept = now
		for h, e := range s.entries {
			if !now.Before(e.until) {
				delete(s.entries, h)
			}
		}
	}
	for h := range s.entries {
		if len(s.entries) < s.max {
			return
		}
		delete(s.entries, h)
	}
}

type revocation struct {
	user  string
	until time.Time
	index int // in the heap
}

// revocations is a set of users, each with an end. It is bounded: when it is
// full, the one that ends first makes room.
type revocations struct {
	max    int
	byUser map[string]*revocation
	byEnd  endHeap
}

func (r *revocations) add(user string, until time.Time) {
	if old, ok := r.byUser[user]; ok {
		if until.After(old.until) {
			old.until = until
			heap.Fix(&r.byEnd, old.index)
		}
		return
	}
	for len(r.byEnd) >= r.max {
		r.drop()
	}
	e := &revocation{user: user, until: until}
	r.byUser[user] = e
	heap.Push(&r.byEnd, e)
}

// forget drops the revocations that have ended at now.
func (r *revocations) forget(now time.Time) {
	for len(r.byEnd) > 0 && !now.Before(r.byEnd[0].until) {
		r.drop()
	}
}

func (r *revocations) drop() {
	e := heap.Pop(&r.byEnd).(*revocation)
	delete(r.byUser, e.user)
}

// endHeap orders revocations by their end, for container/heap.
type endHeap []*revocation

func (h endHeap) Len() int           { return len(h) }
func (h endHeap) Less(i, j int) bool { return h[i].until.Before(h[j].until) }
func (h endHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *endHeap) Push(x any) {
	e := x.(*revocation)
	e.index = len(*h)
	*h = append(*h, e)
}

func (h *endHeap) Pop() any {
	last := len(*h) - 1
	e := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return e
}
