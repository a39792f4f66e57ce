package signaling

import (
	"bufio"
	"net"
	"net/http"
	"sync"
	"time"
)

// corked is a connection that can hold writes back, so that many frames leave in
// one system call. It gives every real write its own deadline.
type corked struct {
	net.Conn
	timeout time.Duration

	mu   sync.Mutex // guards the following, and makes writes whole
	held bool
	buf  *[]byte
}

var corkBuffers = sync.Pool{New: func() any { b := make([]byte, 0, 4096); return &b }}

// maxHeld is how many bytes are held back at most.
const maxHeld = 64 << 10

func (c *corked) hold() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = true
	c.buf = corkBuffers.Get().(*[]byte)
}

// release writes what was held back.
func (c *corked) release() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = false
	err := c.flushLocked()
	if cap(*c.buf) <= maxHeld {
		corkBuffers.Put(c.buf)
	}
	c.buf = nil
	return err
}

func (c *corked) flushLocked() error {
	if len(*c.buf) == 0 {
		return nil
	}
	_, err := c.writeLocked(*c.buf)
	*c.buf = (*c.buf)[:0]
	return err
}

func (c *corked) writeLocked(p []byte) (int, error) {
	if err := c.Conn.SetWriteDeadline(time.Now().Add(c.timeout)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

// Write implements net.Conn.
func (c *corked) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.held {
		return c.writeLocked(p)
	}
	if len(*c.buf) > 0 && len(*c.buf)+len(p) > maxHeld {
		if err := c.flushLocked(); err != nil {
			return 0, err
		}
	}
	*c.buf = append(*c.buf, p...)
	return len(p), nil
}

// SetWriteDeadline does nothing: whoever sets one means a frame that is only held
// back here.
func (c *corked) SetWriteDeadline(time.Time) error { return nil }

// SetDeadline is SetReadDeadline, for the same reason.
func (c *corked) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// corkingHijacker slips a corked connection under the WebSocket library.
type corkingHijacker struct {
	http.ResponseWriter
	timeout time.Duration
	conn    *corked
}

// Hijack implements http.Hijacker.
func (h *corkingHijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	conn.SetDeadline(time.Time{})
	h.conn = &corked{Conn: conn, timeout: h.timeout}
	return h.conn, rw, nil
}
