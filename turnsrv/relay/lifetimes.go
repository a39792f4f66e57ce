package relay

import (
	"container/heap"
	"sync"
	"time"
)

// lifetimes orders allocations by when they end. A refresh that lengthens a
// lifetime does not move its entry; expire finds it early and puts it back.
type lifetimes struct {
	mu   sync.Mutex // guards everything below
	heap lifetimeHeap
}

type lifetimeHeap []*allocation

func (h lifetimeHeap) Len() int           { return len(h) }
func (h lifetimeHeap) Less(i, j int) bool { return h[i].deadline < h[j].deadline }
func (h lifetimeHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].heapIndex, h[j].heapIndex = i, j
}

func (h *lifetimeHeap) Push(x any) {
	a := x.(*allocation)
	a.heapIndex = len(*h)
	*h = append(*h, a)
}

func (h *lifetimeHeap) Pop() any {
	old := *h
	a := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	a.heapIndex = -1
	return a
}

// set makes sure that expire looks at the allocation no later than at.
func (l *lifetimes) set(a *allocation, at time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case a.heapIndex < 0:
		a.deadline = at
		heap.Push(&l.heap, a)
	case at < a.deadline:
		a.deadline = at
		heap.Fix(&l.heap, a.heapIndex)
	}
}

func (l *lifetimes) remove(a *allocation) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if a.heapIndex >= 0 {
		heap.Remove(&l.heap, a.heapIndex)
	}
}

// due takes one allocation out whose time to look has come, or returns nil.
func (l *lifetimes) due(now time.Duration) *allocation {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.heap) == 0 || l.heap[0].deadline > now {
		return nil
	}
	return heap.Pop(&l.heap).(*allocation)
}

// all returns every allocation that has a lifetime.
func (l *lifetimes) all() []*allocation {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]*allocation(nil), l.heap...)
}

func (l *lifetimes) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.heap)
}
