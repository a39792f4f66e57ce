package relay

import (
	"encoding/binary"
	"io"
	"net/netip"
	"sync"
	"time"
)

// family is an address family as TURN writes it (RFC 8656 section 18.8), less one:
// an index.
type family uint8

const (
	ipv4 family = iota
	ipv6
	numFamilies
)

func (f family) String() string { return [...]string{"ipv4", "ipv6"}[f%numFamilies] }

func familyOf(a netip.Addr) family {
	if a.Is4() || a.Is4In6() {
		return ipv4
	}
	return ipv6
}

// parity says which port an allocation asks for (RFC 8656 section 7.2: EVEN-PORT).
type parity uint8

const (
	anyPort  parity = iota
	evenPort        // an even one
	portPair        // an even one whose next is free too
)

// portSpace hands out the relay ports of every local address.
type portSpace struct {
	mu    sync.Mutex // guards everything below
	rand  io.Reader
	pools map[portRange]*portPool
}

type portRange struct {
	addr     netip.Addr
	min, max uint16
}

// take reserves a random free port; ok is false when none fits.
func (s *portSpace) take(now time.Duration, r portRange, want parity) (pool *portPool, port uint16, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	pool = s.pools[r]
	if pool == nil {
		pool = newPortPool(r.min, r.max)
		if s.pools == nil {
			s.pools = map[portRange]*portPool{}
		}
		s.pools[r] = pool
	}
	pool.wake(now)
	port, ok = pool.take(s.rand, want)
	return pool, port, ok
}

// release gives a port back, to rest until the given time.
func (s *portSpace) release(pool *portPool, port uint16, until time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	pool.resting = append(pool.resting, restingPort{port, until})
}

// PortUse is how many relay ports of a family are in use, rest after use, and are free.
type PortUse struct {
	Family              string
	Used, Resting, Free int
}

// use counts the ports of a family: those of the ranges given, and of pools of a
// policy before what is not free again.
func (s *portSpace) use(now time.Duration, f family, ranges []portRange) PortUse {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := PortUse{Family: f.String()}
	for r, pool := range s.pools {
		if familyOf(r.addr) == f {
			pool.wake(now)
			u.Resting += len(pool.resting)
			u.Used += len(pool.at) - len(pool.free) - len(pool.resting)
		}
	}
	for _, r := range ranges {
		if familyOf(r.addr) != f {
			continue
		}
		if pool := s.pools[r]; pool != nil {
			u.Free += len(pool.free)
		} else {
			u.Free += int(r.max) - int(r.min) + 1
		}
	}
	return u
}

// portPool is the ports of one address: a set with uniform random choice.
type portPool struct {
	min     uint16
	free    []uint16
	at      []int32 // index in free by port − min, −1 when taken or resting
	resting []restingPort
}

type restingPort struct {
	port  uint16
	until time.Duration
}

func newPortPool(minPort, maxPort uint16) *portPool {
	n := int(maxPort) - int(minPort) + 1
	p := &portPool{min: minPort, free: make([]uint16, n), at: make([]int32, n)}
	for i := range n {
		p.free[i], p.at[i] = minPort+uint16(i), int32(i)
	}
	return p
}

// wake frees the ports that have rested. They rest in order of release; a shorter
// rest set later waits behind a longer one.
func (p *portPool) wake(now time.Duration) {
	n := 0
	for n < len(p.resting) && p.resting[n].until <= now {
		port := p.resting[n].port
		p.at[port-p.min] = int32(len(p.free))
		p.free = append(p.free, port)
		n++
	}
	p.resting = p.resting[n:]
	if len(p.resting) == 0 {
		p.resting = nil
	}
}

func (p *portPool) take(rand io.Reader, want parity) (uint16, bool) {
	if len(p.free) == 0 {
		return 0, false
	}
	start := uniform(rand, len(p.free))
	for i := range p.free {
		port := p.free[(start+i)%len(p.free)]
		if !p.fits(port, want) {
			continue
		}
		p.remove(port)
		if want == portPair {
			p.remove(port + 1)
		}
		return port, true
	}
	return 0, false
}

func (p *portPool) fits(port uint16, want parity) bool {
	if want == anyPort {
		return true
	}
	next := int(port) - int(p.min) + 1
	return port%2 == 0 && (want == evenPort || next < len(p.at) && p.at[next] >= 0)
}

func (p *portPool) remove(port uint16) {
	i, last := p.at[port-p.min], p.free[len(p.free)-1]
	p.free[i], p.at[last-p.min] = last, i
	p.free = p.free[:len(p.free)-1]
	p.at[port-p.min] = -1
}

// uniform returns a number below n, each as likely as the others to within n/2⁶⁴.
func uniform(rand io.Reader, n int) int {
	var b [8]byte
	if _, err := io.ReadFull(rand, b[:]); err != nil {
		panic("relay: random source failed: " + err.Error())
	}
	return int(binary.LittleEndian.Uint64(b[:]) % uint64(n))
}
