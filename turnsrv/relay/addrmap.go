package relay

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
	"sync"
	"sync/atomic"
)

// addrKey names a 5-tuple (client, server) or, with the second part zero, one
// transport address.
type addrKey struct{ a, b netip.AddrPort }

// addressed is what an addrMap holds: a pointer that knows its own keys, so that
// nothing else needs to keep them.
type addressed[V any] interface {
	*V
	at(addrKey) bool
}

// addrMap maps addresses to pointers. Readers take no lock and see a chain of
// immutable nodes; writers lock one shard and publish new nodes.
type addrMap[V any, P addressed[V]] struct {
	seed   [2]uint64 // from the random source, so that nobody can aim at one bucket
	shards [64]addrShard[V]
}

type addrShard[V any] struct {
	mu      sync.Mutex // guards writing below
	n       int
	buckets atomic.Pointer[[]atomic.Pointer[addrNode[V]]]
}

type addrNode[V any] struct {
	hash uint64
	val  *V
	next *addrNode[V]
}

func (m *addrMap[V, P]) hash(k addrKey) uint64 {
	a, b := k.a.Addr().As16(), k.b.Addr().As16()
	hi, lo := bits.Mul64(binary.LittleEndian.Uint64(a[:8])^m.seed[0], binary.LittleEndian.Uint64(a[8:])^m.seed[1])
	ports := uint64(k.a.Port())<<16 | uint64(k.b.Port())
	hi, lo = bits.Mul64(hi^lo^ports, binary.LittleEndian.Uint64(b[8:])^m.seed[0]^0x9e3779b97f4a7c15)
	hi, lo = bits.Mul64(hi^lo^m.seed[1], 0xd6e8feb86659fd93)
	return hi ^ lo
}

// load returns the value of k, or nil. It takes no lock.
func (m *addrMap[V, P]) load(k addrKey) *V {
	h := m.hash(k)
	tab := m.shards[h>>58].buckets.Load()
	if tab == nil {
		return nil
	}
	for n := (*tab)[h&uint64(len(*tab)-1)].Load(); n != nil; n = n.next {
		if n.hash == h && P(n.val).at(k) {
			return n.val
		}
	}
	return nil
}

// store puts v under k unless something is there, and reports whether it did.
func (m *addrMap[V, P]) store(k addrKey, v *V) bool {
	h := m.hash(k)
	s := &m.shards[h>>58]
	s.mu.Lock()
	defer s.mu.Unlock()
	if m.load(k) != nil {
		return false
	}
	tab := s.buckets.Load()
	if tab == nil || s.n >= 2*len(*tab) {
		tab = s.growLocked(tab)
	}
	bucket := &(*tab)[h&uint64(len(*tab)-1)]
	bucket.Store(&addrNode[V]{h, v, bucket.Load()})
	s.n++
	return true
}

func (s *addrShard[V]) growLocked(old *[]atomic.Pointer[addrNode[V]]) *[]atomic.Pointer[addrNode[V]] {
	size := 4
	if old != nil {
		size = 2 * len(*old)
	}
	tab := make([]atomic.Pointer[addrNode[V]], size)
	if old != nil {
		for i := range *old {
			for n := (*old)[i].Load(); n != nil; n = n.next {
				bucket := &tab[n.hash&uint64(size-1)]
				bucket.Store(&addrNode[V]{n.hash, n.val, bucket.Load()})
			}
		}
	}
	s.buckets.Store(&tab)
	return &tab
}

// remove takes k out if it still stands for v: a reused address stays.
func (m *addrMap[V, P]) remove(k addrKey, v *V) {
	h := m.hash(k)
	s := &m.shards[h>>58]
	s.mu.Lock()
	defer s.mu.Unlock()
	tab := s.buckets.Load()
	if tab == nil {
		return
	}
	bucket := &(*tab)[h&uint64(len(*tab)-1)]
	head := bucket.Load()
	var kept *addrNode[V]
	found := false
	for n := head; n != nil; n = n.next {
		if n.hash == h && n.val == v {
			found = true
			continue
		}
		kept = &addrNode[V]{n.hash, n.val, kept}
	}
	if found {
		bucket.Store(kept)
		s.n--
	}
}
