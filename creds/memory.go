package creds

import (
	"container/heap"
	"time"
)

// issued maps USERHASH to username. It is bounded: when it is full, entries of expired
// credentials go (looked for at most once a minute), else any one goes. There may be many, so
// it keeps half of each hash, and takes the times from the names.
type issued struct {
	max       int
	usernames map[halfHash]string
	swept     time.Time
}

// halfHash is the first half of a USERHASH.
type halfHash [16]byte

func halfOf(hash [32]byte) halfHash { return halfHash(hash[:16]) }

func (s *issued) add(hash [32]byte, username string, now time.Time) {
	h := halfOf(hash)
	if _, known := s.usernames[h]; known {
		return
	}
	if len(s.usernames) >= s.max {
		s.makeRoom(now)
	}
	s.usernames[h] = username
}

func (s *issued) makeRoom(now time.Time) {
	if now.Sub(s.swept) >= time.Minute {
		s.swept = now
		for h, username := range s.usernames {
			if expires, _, err := ParseUsername(username); err != nil || !now.Before(expires) {
				delete(s.usernames, h)
			}
		}
	}
	for h := range s.usernames {
		if len(s.usernames) < s.max {
			return
		}
		delete(s.usernames, h)
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
