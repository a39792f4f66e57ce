package engine

import (
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	"golang.org/x/time/rate"
)

// closeGrace is how long a connection that was closed waits for its client to fetch
// or to read what is left.
const closeGrace = 5 * time.Second

var (
	errOver = errors.New("engine: the connection has ended")
	errSlow = errors.New("engine: the client is too slow")
)

// Conn is one connection, whatever carries it at the moment.
type Conn struct {
	server  *Server
	id      string
	rev     int  // of Engine.IO: 3 or 4
	b64     bool // revision 3: the client cannot take binary
	address string
	agent   string
	handler Handler
	done    chan struct{} // closed when over

	recv     sync.Mutex // one message at a time; guards the following
	messages *rate.Limiter
	bytes    *rate.Limiter

	mu      sync.Mutex // guards the following
	queue   []Packet
	queued  int             // bytes in queue
	room    chan struct{}   // closed when the queue was taken; nil when nobody waits
	ws      *websocket.Conn // nil while polling
	probe   *websocket.Conn // wants to take over
	writing bool            // a goroutine writes to ws
	poll    chan struct{}   // closed to wake the waiting GET; nil when none waits
	posting bool
	over    bool
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
	c.queue = []Packet{c.openPacket(polling)}
	c.heard, c.pingAt = now, now.Add(c.server.o.PingInterval)
	c.timer = time.AfterFunc(c.server.o.PingInterval, c.tick)
}

// tick pings, or ends what has been silent for too long.
func (c *Conn) tick() {
	c.mu.Lock()
	if c.over {
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
			c.pushLocked(Packet{kind: kindPing})
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
func (c *Conn) Send(packets ...Packet) error {
	var timeout <-chan time.Time
	c.mu.Lock()
	for !c.over && c.fullLocked() {
		if c.room == nil {
			c.room = make(chan struct{})
		}
		room := c.room
		c.mu.Unlock()
		if timeout == nil {
			timer := time.NewTimer(c.server.o.WriteTimeout)
			defer timer.Stop()
			timeout = timer.C
		}
		select {
		case <-room:
		case <-c.done:
		case <-timeout:
			c.abort()
			return errSlow
		}
		c.mu.Lock()
	}
	defer c.mu.Unlock()
	if c.over {
		return errOver
	}
	c.pushLocked(packets...)
	return nil
}

// Post queues answers to the client's own messages without waiting. A client that
// asks on and on but does not read is cut off.
func (c *Conn) Post(packets ...Packet) {
	c.mu.Lock()
	slow := !c.over && len(c.queue) >= 4*c.server.o.Queue
	if !slow && !c.over {
		c.pushLocked(packets...)
	}
	c.mu.Unlock()
	if slow {
		c.abort()
	}
}

func (c *Conn) fullLocked() bool {
	return len(c.queue) >= c.server.o.Queue || c.queued >= c.server.o.QueueBytes
}

func (c *Conn) pushLocked(packets ...Packet) {
	for _, p := range packets {
		c.queued += len(p.Data)
	}
	c.queue = append(c.queue, packets...)
	c.wakeLocked()
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

// takeLocked empties the queue.
func (c *Conn) takeLocked() []Packet {
	packets := c.queue
	c.queue, c.queued = nil, 0
	if c.room != nil {
		close(c.room)
		c.room = nil
	}
	return packets
}

// Close sends what is queued and ends the connection.
func (c *Conn) Close() { c.end(true) }

// abort ends the connection now.
func (c *Conn) abort() { c.end(false) }

func (c *Conn) end(politely bool) {
	c.mu.Lock()
	if c.over {
		c.mu.Unlock()
		return
	}
	c.over, c.rest = true, politely
	close(c.done)
	c.timer.Stop()
	if !politely {
		c.takeLocked()
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
		c.pushLocked(Packet{kind: kindClose}) // its writer turns it into a close frame
	case c.ws != nil:
		c.ws.Close()
	case politely:
		c.pushLocked(Packet{kind: kindClose})
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
	c.recv.Lock()
	defer c.recv.Unlock()
	c.handler.Closed()
}

// receive takes one packet of the client, as slowly as the limits say. It says
// whether there is to be another one.
func (c *Conn) receive(p Packet) bool {
	c.recv.Lock()
	defer c.recv.Unlock()
	if !c.hold(len(p.Data)) {
		return false
	}
	c.mu.Lock()
	c.heard = time.Now()
	over := c.over
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

// hold waits until a message of size n is within the limits, or the connection over.
func (c *Conn) hold(n int) bool {
	now := time.Now()
	wait := c.messages.ReserveN(now, 1).DelayFrom(now)
	if n > 0 {
		wait = max(wait, c.bytes.ReserveN(now, min(n, c.bytes.Burst())).DelayFrom(now))
	}
	if wait <= 0 {
		return true
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-c.done:
		return false
	}
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
