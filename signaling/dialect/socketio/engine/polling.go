package engine

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// nudge is how often a GET is let go while a WebSocket wants to take over: the
// client stops polling only when one returns.
const nudge = 100 * time.Millisecond

// polling says whether the connection is still carried by polls.
func (c *Conn) polling() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ws == nil
}

// serveGet answers with what is queued, and waits until there is something.
func (c *Conn) serveGet(w http.ResponseWriter, r *http.Request) {
	defer c.server.o.Guard(c.abort)
	c.mu.Lock()
	switch {
	case c.poll != nil:
		c.mu.Unlock()
		c.abort()
		badRequest.write(w)
		return
	case c.out.OverLocked() && !c.rest:
		c.mu.Unlock()
		badSession.write(w)
		return
	case c.out.LenLocked() == 0 && c.ws == nil:
		c.waitLocked(r)
	}
	var packets []Packet
	if c.ws == nil && r.Context().Err() == nil { // else the queue is the WebSocket's, or the next GET's
		packets = c.out.TakeLocked()
	}
	// A client that finds the end behind its last messages forgets them: it acts on the
	// one at once and on the others later. So the end has a GET of its own.
	if n := len(packets) - 1; n > 0 && packets[n].kind == kindClose {
		c.out.PushLocked(packets[n])
		packets = packets[:n]
	} else if c.out.OverLocked() {
		defer c.server.forget(c)
	}
	c.mu.Unlock()
	if len(packets) == 0 {
		packets = []Packet{{kind: kindNoop}}
	}
	c.answer(w, packets)
}

// waitLocked lets go of the lock until the queue is worth a look.
func (c *Conn) waitLocked(r *http.Request) {
	poll := make(chan struct{})
	c.poll = poll
	var nudged <-chan time.Time
	if c.probe != nil {
		timer := time.NewTimer(nudge)
		defer timer.Stop()
		nudged = timer.C
	}
	c.mu.Unlock()
	select {
	case <-poll:
	case <-nudged:
	case <-r.Context().Done():
	}
	c.mu.Lock()
	if c.poll == poll {
		c.poll = nil
	}
}

// answer writes the payload. A client that does not take it has lost it, and with it
// the connection.
func (c *Conn) answer(w http.ResponseWriter, packets []Packet) {
	body, octets := appendPayload(nil, c.rev, c.b64, packets)
	kind := "text/plain; charset=UTF-8"
	if octets {
		kind = "application/octet-stream"
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	control := http.NewResponseController(w)
	control.SetWriteDeadline(time.Now().Add(c.server.o.WriteTimeout)) // not every writer has one
	defer control.SetWriteDeadline(time.Time{})
	if _, err := w.Write(body); err != nil {
		c.abort()
		return
	}
	if err := control.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		c.abort()
	}
}

// servePost takes the packets of a body.
func (c *Conn) servePost(w http.ResponseWriter, r *http.Request) {
	defer c.server.o.Guard(c.abort)
	c.mu.Lock()
	busy := c.posting || c.out.OverLocked()
	c.posting = true
	c.mu.Unlock()
	if busy {
		c.abort()
		badRequest.write(w)
		return
	}
	packets, status := c.read(w, r)
	if status != 0 {
		c.abort()
		http.Error(w, http.StatusText(status), status)
		return
	}
	for _, p := range packets {
		if !c.receive(p) {
			break
		}
	}
	c.mu.Lock()
	c.posting = false
	c.mu.Unlock()
	w.Header().Set("Content-Type", "text/html") // as Engine.IO: Android's old WebView wants it
	io.WriteString(w, "ok")
}

// read takes the body of a POST, or returns the status of its refusal.
func (c *Conn) read(w http.ResponseWriter, r *http.Request) ([]Packet, int) {
	limit := int64(c.server.o.MaxPayload)
	control := http.NewResponseController(w)
	control.SetReadDeadline(time.Now().Add(c.server.o.WriteTimeout)) // not every reader has one
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	control.SetReadDeadline(time.Time{})
	var big *http.MaxBytesError
	switch {
	case errors.As(err, &big):
		return nil, http.StatusRequestEntityTooLarge
	case err != nil:
		return nil, http.StatusBadRequest
	}
	octets := strings.HasPrefix(r.Header.Get("Content-Type"), "application/octet-stream")
	packets, err := parsePayload(c.rev, octets, body)
	if err != nil {
		return nil, http.StatusBadRequest
	}
	return packets, 0
}
