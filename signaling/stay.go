package signaling

import (
	"encoding/binary"
	"errors"

	"rtcd/internal/rawtcp"
)

// stay takes small messages as they come, until something else comes or the read deadline
// passes. It reads once each time that something has come, and not again to find that
// there is nothing yet; what the messages cause is then written to lone receivers by this same
// goroutine. It returns nil if the library shall go on.
func (c *socket) stay() error {
	if c.inRow(c.takeBuffered) {
		return nil
	}
	c.wire.staying = true
	defer func() { c.wire.staying = false }()
	return c.wire.try.Each(func() (done bool) {
		for {
			if done = c.inRow(c.takeNew); done || !c.wire.filled {
				return done
			}
		}
	})
}

// inRow calls take, and then writes to those who were told something, who wait for no more
// than what is in the buffer.
func (c *socket) inRow(take func() (done bool)) (done bool) {
	c.row = rows.Get().(*[]turn)
	defer func() { // after a panic, too: nobody else writes to them
		c.hub.writeRow(c.row)
		rows.Put(c.row)
		c.row = nil
	}()
	return take()
}

// takeNew takes what one read brings, and reports true if the library shall go on.
func (c *socket) takeNew() (done bool) {
	c.wire.filled = false
	if _, err := c.wire.r.Peek(1); err != nil {
		return !errors.Is(err, rawtcp.ErrNothing)
	}
	return c.takeBuffered()
}

// takeBuffered takes the messages that are in the reader's buffer, and reports true if
// the library shall go on.
func (c *socket) takeBuffered() (done bool) {
	w := c.wire
	for w.hasWhole(c.hub.o.Limits.MessageBytes) {
		if c.read() != nil || w.closing.Load() {
			return true // the library says its errors again
		}
		w.taken = 0
	}
	return w.r.Buffered() > 0
}

// hasWhole says whether a text message of at most limit bytes is in the reader's buffer, all of
// it in one frame.
func (w *wire) hasWhole(limit int) bool {
	n := w.r.Buffered()
	if n < frameHeader {
		return false
	}
	b, _ := w.r.Peek(n)
	if b[0] != finText || b[1] < masked {
		return false
	}
	head, size := frameHeader, int(b[1]-masked)
	switch size {
	case 126:
		head, size = head+2, int(binary.BigEndian.Uint16(b[2:]))
	case 127:
		return false
	}
	return size <= limit && head+size <= n
}
