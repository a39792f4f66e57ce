package bounds

import (
	"time"

	"golang.org/x/time/rate"
)

// Pace is how fast one channel may send.
type Pace struct{ messages, bytes *rate.Limiter }

// NewPace allows so many messages a second, after burst at once, and so many bytes a
// second, after as many at once or one message of the largest size.
func NewPace(messages float64, burst int, bytes float64, largest int) *Pace {
	return &Pace{
		messages: rate.NewLimiter(rate.Limit(messages), burst),
		bytes:    rate.NewLimiter(rate.Limit(bytes), max(int(bytes), largest)),
	}
}

// Hold waits until a message of size n is within the limits. It returns false if done
// was closed before.
func (p *Pace) Hold(n int, done <-chan struct{}) bool {
	now := time.Now()
	wait := p.messages.ReserveN(now, 1).DelayFrom(now)
	if n > 0 {
		wait = max(wait, p.bytes.ReserveN(now, min(n, p.bytes.Burst())).DelayFrom(now))
	}
	if wait <= 0 {
		return true
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-done:
		return false
	}
}
