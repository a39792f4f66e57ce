package engine

import (
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"rtcd/signaling/dialect/bounds"
)

// closeGrace is how long a connection that was closed waits for its client to fetch
// or to read what is left.
const closeGrace = 5 * time.Second

// Conn is one connection, whatever carries it at the moment.
type Conn struct {
	server  *Server
	id      string
	rev     int  // of Engine.IO: 3 or 4
	b64     bool // revision 3: the client cannot take binary
	address string
	agent   string
	handler Handler
	pace    *bounds.Pace

	recv sync.Mutex // one message at a time

	mu      sync.Mutex // guards the following
	out     *bounds.Queue[Packet]
	ws      *websocket.Conn // nil while polling
	probe   *websocket.Conn // wants to take over
	writing bool            // a goroutine writes to ws
	poll    chan struct{}   // closed to wake the waiting GET; nil when none waits
	posting bool
	rest    bool // over, but what is queued may still go out
	timer   *time.Timer
	heard   time.Time
	pingAt  time.Time // revision 4
}

// ID is the sid of Engine.IO.
func (c *Conn) ID() string { return c.id }

// Revision is that of Engine.IO: 3 or 4.
func (c *Conn) Revision() int { return c.rev }

// Address is the client's.
func (c *Conn) Address() string { return c.address }

// begin sets the connection's clock going and queues the open packet.
func (c *Conn) begin(polling bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	c.out.PushLocked(c.openPacket(polling))
	c.heard, c.pingAt = now, now.Add(c.server.o.PingInterval)
	c.timer = time.AfterFunc(c.server.o.PingInterval, c.tick)
}

// tick pings, or ends what has been silent for too long.
func (c *Conn) tick() {
	defer c.server.o.Guard(c.abort)
	c.mu.Lock()
	if c.out.OverLocked() {
		c.mu.Unlock()
		return
	}
	now := time.Now()
	next := c.heard.Add(c.server.o.PingInterval + c.server.o.PingTimeout)
	if !now.Before(next) {
		c.mu.Unlock()
		c.abort()
		return
	}
	if c.rev == 4 {
		if !now.Before(c.pingAt) {
			c.pingAt = now.Add(c.server.o.PingInterval)
			c.out.PushLocked(Packet{kind: kindPing})
		}
		if c.pingAt.Before(next) {
			next = c.pingAt
		}
	}
	c.timer.Reset(next.Sub(now))
	c.mu.Unlock()
}

// Send queues packets, to go out one after the other. It waits while too much
// is queued, for WriteTimeout at most: then the connection ends.
func (c *Conn) Send(packets ...Packet) error { return c.judge(c.out.Send(packets...)) }

// Post queues answers to the client's own messages without waiting. A client that
// asks on and on but does not read is cut off.
func (c *Conn) Post(packets ...Packet) { c.judge(c.out.Post(packets...)) }

// judge cuts off a client that is too slow.
func (c *Conn) judge(err error) error {
	if errors.Is(err, bounds.ErrSlow) {
		c.abort()
	}
	return err
}

// wakeLocked lets whoever can take the queue take it.
func (c *Conn) wakeLocked() {
	switch {
	case c.ws != nil && !c.writing:
		c.writing = true
		c.server.wg.Add(1)
		// Owned by the server's WaitGroup; ends when the queue is empty or a write fails,
		// which takes WriteTimeout at most.
		go c.write(c.ws)
	case c.ws == nil && c.poll != nil:
		close(c.poll)
		c.poll = nil
	}
}

// Close sends what is queued and ends the connection.
func (c *Conn) Close() { c.end(true) }

// abort ends the connection now.
func (c *Conn) abort() { c.end(false) }

func (c *Conn) end(politely bool) {
	c.mu.Lock()
	if !c.out.EndLocked() {
		c.mu.Unlock()
		return
	}
	c.rest = politely
	c.timer.Stop()
	if !politely {
		c.out.TakeLocked()
	}
	switch {
	case c.probe == nil:
	case politely: // a client that polls no more has only this way to hear the last words
		c.probe.SetReadDeadline(time.Now().Add(closeGrace))
	default:
		c.probe.Close()
	}
	switch {
	case c.ws != nil && politely:
		c.out.PushLocked(Packet{kind: kindClose}) // its writer turns it into a close frame
	case c.ws != nil:
		c.ws.Close()
	case politely:
		c.out.PushLocked(Packet{kind: kindClose})
		c.timer = time.AfterFunc(closeGrace, func() { c.server.forget(c) })
	case c.poll != nil:
		c.wakeLocked()
	}
	keep := politely && c.ws == nil
	c.mu.Unlock()
	if !keep {
		c.server.forget(c)
	}
	// Owned by the server's WaitGroup, in which the connection was counted when it
	// began; ends when the handler has taken its last message and closed.
	go c.bury()
}

func (c *Conn) bury() {
	defer c.server.wg.Done()
	defer c.server.o.Guard(c.abort)
	c.recv.Lock()
	defer c.recv.Unlock()
	c.handler.Closed()
}

// receive takes one packet of the client, as slowly as the limits say. It says
// whether there is to be another one.
func (c *Conn) receive(p Packet) bool {
	c.recv.Lock()
	defer c.recv.Unlock()
	if !c.pace.Hold(len(p.Data), c.out.Done()) {
		return false
	}
	c.mu.Lock()
	c.heard = time.Now()
	over := c.out.OverLocked()
	c.mu.Unlock()
	if over {
		return false
	}
	switch p.kind {
	case kindMessage:
		c.handler.Receive(p.Data, p.Binary)
	case kindPing:
		if c.rev == 3 && len(p.Data) <= 125 {
			c.Post(Packet{kind: kindPong, Data: p.Data})
		}
	case kindClose:
		c.abort()
		return false
	}
	return true
}

// openPacket is the first one of a connection.
func (c *Conn) openPacket(polling bool) Packet {
	o := &c.server.o
	b := append([]byte(`{"sid":"`), c.id...)
	b = append(b, `","upgrades":[`...)
	if polling {
		b = append(b, `"websocket"`...)
	}
	b = append(b, `],"pingInterval":`...)
	b = strconv.AppendInt(b, o.PingInterval.Milliseconds(), 10)
	b = append(b, `,"pingTimeout":`...)
	b = strconv.AppendInt(b, o.PingTimeout.Milliseconds(), 10)
	b = append(b, `,"maxPayload":`...)
	b = strconv.AppendInt(b, int64(o.MaxPayload), 10)
	return Packet{kind: kindOpen, Data: append(b, '}')}
}
