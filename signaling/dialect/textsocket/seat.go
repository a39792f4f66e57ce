package textsocket

import (
	"sync"

	"rtcd/signaling"
)

// Seat is a socket as the transport of one membership of the hub. It implements
// signaling.Transport.
type Seat struct {
	socket *Socket
	mu     sync.Locker                       // the dialect's; guards the following
	hear   func(e *signaling.Event) [][]byte // nil once the membership is over
}

// NewSeat returns a seat of s. What the hub says is put into frames by hear, which is
// called with mu held.
func NewSeat(s *Socket, mu sync.Locker, hear func(e *signaling.Event) [][]byte) *Seat {
	return &Seat{socket: s, mu: mu, hear: hear}
}

// LeaveLocked is the end of the membership: the socket lives on and hears nothing
// more of it. The caller holds the seat's lock.
func (t *Seat) LeaveLocked() { t.hear = nil }

// Send implements signaling.Transport. It waits while the client is slow, so that the
// hub's queue fills and its rule applies.
func (t *Seat) Send(batch []signaling.Frame) error {
	frames := make([][]byte, 0, len(batch))
	t.mu.Lock()
	for _, f := range batch {
		if t.hear == nil {
			break
		}
		frames = append(frames, t.hear(f.Event)...)
	}
	t.mu.Unlock()
	if len(frames) == 0 {
		return nil
	}
	return t.socket.Send(frames...)
}

// Close implements signaling.Transport: with the membership the socket ends.
func (t *Seat) Close(code int, reason string) {
	t.mu.Lock()
	over := t.hear == nil
	t.mu.Unlock()
	if over {
		return
	}
	if code == 0 {
		code = signaling.CloseGoing
	}
	t.socket.Close(code, reason)
}
