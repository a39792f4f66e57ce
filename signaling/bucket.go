package signaling

import "time"

// rateLimit is events a second, after so many at once.
type rateLimit struct {
	rate  float64
	burst int
}

// messages, bytes and mercy bound what a member says: messages and their bytes, and after
// that refusals.
func (l *Limits) messages() rateLimit { return rateLimit{l.Rate, l.Burst} }
func (l *Limits) bytes() rateLimit    { return rateLimit{float64(l.ByteRate), l.ByteBurst} }
func (l *Limits) mercy() rateLimit    { return rateLimit{1, l.Burst / 2} }

// full is a bucket of which nothing has been taken.
func (l rateLimit) full() bucket { return bucket{left: float64(l.burst)} }

// bucket counts the events of one rateLimit, in two words: every session has some.
type bucket struct {
	left float64
	at   int64 // Unix nanoseconds of the last event; 0 = none yet
}

// take says whether one more event is within the limit at now.
func (b *bucket) take(now time.Time, l rateLimit) bool {
	b.refill(now, l)
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}

// spend is take for an event of n, which may leave a debt.
func (b *bucket) spend(now time.Time, l rateLimit, n int) bool {
	b.refill(now, l)
	if b.left <= 0 {
		return false
	}
	b.left -= float64(n)
	return true
}

// charge takes n more for what has been let through.
func (b *bucket) charge(n int) { b.left -= float64(n) }

func (b *bucket) refill(now time.Time, l rateLimit) {
	t := now.UnixNano()
	if passed := t - b.at; b.at != 0 && passed > 0 {
		b.left = min(float64(l.burst), b.left+l.rate*float64(passed)/1e9)
	}
	b.at = t
}
