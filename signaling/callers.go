package signaling

import (
	"math"
	"net/netip"
	"time"
)

// callers counts what comes from one address, which many people behind a NAT may share:
// so a limit closes what is oldest and has not said who it is, refuses what would be too
// much for the machine, and makes guessing slow. None keeps a valid token out. It is
// guarded by the hub's mu.
type callers struct {
	here     map[string]*caller
	failures map[string]*bucket // hellos that were refused lately
	told     time.Time          // when the log heard of one of them
	late     int                // answers that wait; see Hub.Penalize
}

// caller is what is there of one address. It goes when nothing is.
type caller struct {
	strangers []*socket // that said no hello yet, the oldest first
	sessions  int
	late      int // answers to its requests that wait
}

// maxFailures bounds the addresses whose failures are remembered.
const maxFailures = 1 << 14

// callerOf is an IPv4 address, or the /64 of an IPv6 address, which one caller can hardly have
// many of.
func callerOf(address string) string {
	ip, err := netip.ParseAddr(address)
	if ip = ip.Unmap(); err != nil || ip.Is4() {
		return address
	}
	p, _ := ip.WithZone("").Prefix(64)
	return p.String()
}

func (c *callers) of(key string) *caller {
	if c.here[key] == nil {
		if c.here == nil {
			c.here = map[string]*caller{}
		}
		c.here[key] = &caller{}
	}
	return c.here[key]
}

// settle forgets a caller that is gone.
func (c *callers) settle(key string) {
	if who := c.here[key]; who != nil && who.sessions == 0 && who.late == 0 && len(who.strangers) == 0 {
		delete(c.here, key)
	}
}

// enter takes a socket in, and returns the oldest of the same caller if that is now one too
// many.
func (c *callers) enter(s *socket, most int) (tooMany *socket) {
	who := c.of(s.caller)
	if len(who.strangers) >= most {
		tooMany = who.strangers[0]
		who.strangers = remove(who.strangers, tooMany)
	}
	who.strangers = append(who.strangers, s)
	return tooMany
}

// known is the end of enter: the socket has said hello, or is closed.
func (c *callers) known(s *socket) {
	if who := c.here[s.caller]; who != nil {
		who.strangers = remove(who.strangers, s)
		c.settle(s.caller)
	}
}

// The answer to a hello that fails too often is late by a second, then two, four …
const (
	firstDelay   = time.Second
	longestDelay = 25 * time.Second
)

// failed counts a hello that was refused, and returns how late it is to be answered. A burst
// is free; after that the delay grows with what is owed.
func (c *callers) failed(now time.Time, key string, l rateLimit) time.Duration {
	b := c.failures[key]
	if b == nil {
		if len(c.failures) >= maxFailures {
			c.forgive(now, l)
		}
		if c.failures == nil {
			c.failures = map[string]*bucket{}
		}
		full := l.full()
		b = &full
		c.failures[key] = b
	}
	b.refill(now, l)
	b.left = max(b.left-1, -6)
	owed := math.Ceil(-b.left)
	if owed <= 0 {
		return 0
	}
	return min(firstDelay<<(int(owed)-1), longestDelay)
}

// forgive looks at a few, forgets those who failed long ago, and one more if there is none.
func (c *callers) forgive(now time.Time, l rateLimit) {
	looked := 0
	for key, b := range c.failures {
		b.refill(now, l)
		looked++
		if b.left >= float64(l.burst) || looked == 16 {
			delete(c.failures, key)
		}
		if looked == 16 {
			return
		}
	}
}

// failed counts a refused hello of a caller; see callers.failed.
func (h *Hub) failed(now time.Time, key string) time.Duration {
	l := rateLimit{float64(h.o.Limits.FailuresPerIP) / h.o.Limits.FailuresForgiven.Seconds(), h.o.Limits.FailuresPerIP}
	h.mu.Lock()
	late := h.callers.failed(now, key, l)
	tell := late > 0 && now.Sub(h.callers.told) >= 10*time.Second
	if tell {
		h.callers.told = now
	}
	h.mu.Unlock()
	if late > 0 {
		h.metrics.delayed.Inc()
	}
	if tell {
		h.log.Info("many hellos are refused, so their answers are late", "address", key)
	}
	return late
}

// checkRoomLocked says whether one more session of a caller may begin.
func (h *Hub) checkRoomLocked(key string) *Error {
	switch {
	case len(h.sessions) >= h.o.Limits.Sessions:
		return refuse(CodeLimit, "the server is full")
	case h.callers.of(key).sessions >= h.o.Limits.SessionsPerIP:
		return refuse(CodeLimit, "too many sessions from one address")
	}
	return nil
}
