package relay

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
	"sync"
	"time"
)

// limiter bounds the answers that an address gets before it has shown a password,
// and how fast it makes allocations.
// Its table has a fixed size: a flood from many addresses makes it forget, not
// grow. All limits of an address share a slot.
type limiter struct {
	seed [2]uint64
	rows [1024]limiterRow
}

type limiterRow struct {
	mu    sync.Mutex // guards slots
	slots [4]limiterSlot
}

type limiterSlot struct {
	host  netip.Addr
	seen  time.Duration
	full  [numBuckets]time.Duration // when the bucket is full again (GCRA)
	known time.Duration             // a valid MAC came; 0 = never
}

type bucket uint8

const (
	unauthenticated bucket = iota
	bindings
	failedLogins
	creations // of allocations; these show a password
	numBuckets
)

const (
	knownFor   = 10 * time.Minute
	knownBonus = 20 // how much more an address gets that has authenticated lately
)

func (l *limiter) row(h netip.Addr) *limiterRow {
	b := h.As16()
	hi, lo := bits.Mul64(binary.LittleEndian.Uint64(b[:8])^l.seed[0], binary.LittleEndian.Uint64(b[8:])^l.seed[1])
	return &l.rows[(hi^lo)%uint64(len(l.rows))]
}

// slot finds the slot of h, or takes the one seen longest ago for it.
func (r *limiterRow) slot(h netip.Addr) *limiterSlot {
	oldest := &r.slots[0]
	for i := range r.slots {
		s := &r.slots[i]
		if s.host == h {
			return s
		}
		if !s.host.IsValid() || oldest.host.IsValid() && s.seen < oldest.seen {
			oldest = s
		}
	}
	*oldest = limiterSlot{host: h}
	return oldest
}

// allow takes one event from the address's bucket and reports whether it passes.
func (l *limiter) allow(now time.Duration, addr netip.Addr, b bucket, rate Rate) bool {
	if rate.N < 0 {
		return true
	}
	h := host(addr)
	row := l.row(h)
	row.mu.Lock()
	defer row.mu.Unlock()
	s := row.slot(h)
	s.seen = now
	n := rate.N
	if b != creations && s.known != 0 && now-s.known < knownFor {
		n *= knownBonus
	}
	if n == 0 {
		return false
	}
	full := max(s.full[b], now) + rate.Per/time.Duration(n)
	if full-now > 2*rate.Per {
		return false
	}
	s.full[b] = full
	return true
}

// authenticated notes that a valid MAC came from the address.
func (l *limiter) authenticated(now time.Duration, addr netip.Addr) {
	h := host(addr)
	row := l.row(h)
	row.mu.Lock()
	defer row.mu.Unlock()
	s := row.slot(h)
	s.seen, s.known = now, max(now, 1)
}
