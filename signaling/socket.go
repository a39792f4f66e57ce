package signaling

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

const (
	// Subprotocol is the native protocol's name in the WebSocket handshake.
	Subprotocol = "rtcd.v1"

	tokenPrefix = "token." // a second subprotocol that carries the join token
	closeGrace  = 5 * time.Second
)

// socket is the native protocol's Transport: one WebSocket.
type socket struct {
	hub     *Hub
	conn    *websocket.Conn
	wire    *wire
	address string
	caller  string // callerOf its address
	token   string // from the handshake
	verdict func() // the answer to a hello that failed too often, when it is time

	session  *Session // the reader's, as what follows
	link     *link
	controls bucket
	parkable bool
	place    uint64  // in the lot
	row      *[]turn // in a stay: who is written to when all that came is taken
}

// controlRate bounds control frames, which no message limit sees.
var controlRate = rateLimit{5, 20}

// writeBuffers are the library's, readBuffers hold a message until it is parsed,
// batchBuffers the frames of one write.
var (
	writeBuffers sync.Pool
	readBuffers  = sync.Pool{New: func() any { return new(bytes.Buffer) }}
	batchBuffers = sync.Pool{New: func() any { b := make([]byte, 0, 4096); return &b }}
)

// maxKept is how large a buffer may have grown to be used again.
const maxKept = 64 << 10

// run reads until the socket ends or is parked: most sessions are idle, and those have
// no goroutine. The lot calls it again.
func (c *socket) run() {
	if c.session == nil {
		c.prepare()
	} else if c.parkable {
		c.wire.load()
		c.wire.arm(time.Now().Add(c.hub.o.idleAfter))
	}
	err := c.serve()
	switch {
	case errors.Is(err, errParked):
	case errors.Is(err, errGreeted):
		// On a new stack, for that of one that said hello has grown. Owned like the one
		// that it takes the place of.
		go c.run()
	default:
		c.finish(err)
	}
}

// What serve returns when another goroutine goes on: at once, or when there is something
// to read.
var (
	errGreeted = errors.New("greeted")
	errParked  = errors.New("parked")
)

func (c *socket) prepare() {
	c.conn.SetReadLimit(int64(c.hub.o.Limits.MessageBytes))
	c.wire.taken, c.wire.most = 0, 8*c.hub.o.Limits.MessageBytes+readBuffer // frames of one byte have eight
	c.conn.SetPingHandler(func(data string) error {
		if c.control() {
			c.conn.WriteControl(websocket.PongMessage, []byte(data), time.Now().Add(time.Second))
		}
		return nil
	})
	c.conn.SetPongHandler(func(string) error { c.control(); return nil })
	c.extend(time.Now(), c.hub.o.HelloTimeout)
}

// finish is the end of a socket, for the reason that serve returned.
func (c *socket) finish(err error) {
	defer c.hub.wg.Done()
	defer c.hub.metrics.sockets.Dec()
	defer c.hub.dropSocket(c)
	defer c.conn.Close()
	if err == nil && c.session == nil {
		c.Close(CloseInternal, "internal error")
	}
	if err == nil || errors.Is(err, websocket.ErrReadLimit) || errors.Is(err, errCutUp) {
		c.linger()
	}
}

// serve returns why the socket ended, or who goes on; nil after a panic.
func (c *socket) serve() (err error) {
	defer c.hub.guard(&c.session)
	greeted := c.session != nil
	for err == nil {
		if isTimeout(c.wait()) && c.session != nil && time.Now().Before(c.wire.end()) {
			if c.parks() {
				return errParked
			}
			c.wire.arm(c.wire.dead)
			continue
		}
		err = c.read()
		if err == nil && !greeted && c.session != nil && !c.parkable {
			return errGreeted
		}
	}
	c.ended(err)
	return err
}

// wait returns nil when there is something for the library to read, and an error at the
// end or at the read deadline; a later read finds what made it fail. It takes less of the
// stack than the library. Between two messages it takes pongs itself: the library would
// go on to wait for the next message, and could not be told that it takes too long.
func (c *socket) wait() error {
	w := c.wire
	w.waiting, w.taken = true, 0
	defer func() { w.waiting = false }()
	if c.session != nil && w.try != nil && !w.closing.Load() {
		if err := c.stay(); err != nil {
			return err
		}
		w.taken = 0
	}
	for {
		head, err := w.r.Peek(2)
		if err != nil || head[0] != finPong || head[1] < masked || head[1] > masked+maxControl {
			return err
		}
		n := frameHeader + int(head[1]-masked)
		if _, err := w.r.Peek(n); err != nil {
			return err
		}
		w.r.Discard(n)
		c.control()
	}
}

// parks gives the socket to the lot, in which nobody sees that it is dead: so only until
// the next ping, which wakes it.
func (c *socket) parks() bool {
	if !c.parkable || time.Until(c.wire.dead) <= c.hub.o.PingEvery {
		return false
	}
	c.wire.unload()
	if c.hub.lot.park(c) {
		return true
	}
	c.wire.load()
	return false
}

// read takes one message; it is never called again after an error.
func (c *socket) read() error {
	kind, r, err := c.conn.NextReader()
	if err != nil {
		return err
	}
	b := readBuffers.Get().(*bytes.Buffer)
	defer func() {
		if b.Cap() <= maxKept {
			b.Reset()
			readBuffers.Put(b)
		}
	}()
	if _, err := b.ReadFrom(r); err != nil {
		return err
	}
	now := time.Now()
	switch {
	case c.wire.closing.Load(): // reading on for the far side's close frame
	case kind != websocket.TextMessage:
		c.fail(CloseProtocol, "a binary frame")
	case c.verdict != nil:
		c.fail(CloseRate, "too many hellos")
	case c.session == nil:
		c.hello(b.Bytes())
	case c.session.receive(now, c.link, b.Bytes(), c.wire.taken, c.row):
		c.extend(now, c.hub.o.DeadAfter)
	}
	return nil
}

// extend puts off the moment at which the client is taken for dead. A deadline that is
// hardly earlier stays, for setting it costs much beside a small message.
func (c *socket) extend(now time.Time, d time.Duration) {
	c.wire.dead = now.Add(d)
	at, slack := c.wire.dead, d/64
	if c.parkable {
		at, slack = now.Add(c.hub.o.idleAfter), c.hub.o.idleAfter/2
	}
	if at.Sub(c.wire.until).Abs() > slack {
		c.wire.arm(at)
	}
}

// control counts a ping or pong and says whether it still counts as a sign of life.
func (c *socket) control() bool {
	if c.wire.closing.Load() {
		return false
	}
	c.wire.taken = max(0, c.wire.taken-frameHeader-maxControl) // no part of a message
	now := time.Now()
	if !c.controls.take(now, controlRate) {
		c.fail(CloseRate, "too many control frames")
		return false
	}
	if c.session != nil {
		c.extend(now, c.hub.o.DeadAfter)
	}
	return true
}

// fail closes the socket because the client broke a rule, and ends its session.
func (c *socket) fail(code int, reason string) {
	if c.session == nil {
		c.Close(code, reason)
		return
	}
	if c.session.owns(c.link) {
		c.session.expel(ReasonLimits, code, reason, false, true)
	}
}

// owns says whether l still carries the session.
func (s *Session) owns(l *link) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.link == l && !s.over
}

// ended tells the session why the socket ended.
func (c *socket) ended(err error) {
	switch {
	case c.session == nil:
		if !isTimeout(err) || c.wire.closing.Load() {
			return
		}
		if c.verdict != nil {
			c.verdict()
		} else {
			c.Close(CloseUnauthorized, "no hello in time")
		}
	case errors.Is(err, websocket.ErrReadLimit), errors.Is(err, errCutUp): // for the first the library has sent 1009
		c.fail(CloseTooBig, "message too big")
	case websocket.IsCloseError(err, websocket.CloseNormalClosure) && c.session.owns(c.link):
		c.session.expel(ReasonLeft, CloseNormal, "", true, true)
	default:
		c.session.lost(c.link)
	}
}

// linger swallows what the client still sends, for a little while: closing with
// unread bytes would reset the connection, and the close frame would be lost.
func (c *socket) linger() {
	raw := c.conn.NetConn()
	raw.SetReadDeadline(time.Now().Add(closeGrace))
	io.CopyN(io.Discard, raw, 1<<20)
}

// hello begins a session or takes one up again.
func (c *socket) hello(data []byte) {
	m, err := ParseMessage(data)
	if err == nil && m.Type != TypeHello {
		err = refuse(CodeBadType, "the first message must be hello")
	}
	if err != nil {
		c.refuse(&m, err, CloseProtocol)
		return
	}
	if m.Resume != "" && c.resume(&m) {
		c.begun()
		return
	}
	if m.Token == "" {
		m.Token = c.token
	}
	claims, err := c.hub.Authorize(m.Token, time.Now())
	if err != nil && m.Token == "" && c.hub.resumer.knows(m.Resume) {
		c.answer(&m, refuse(CodeExpired, "the session is gone"), CloseExpired) // nobody's guess
		return
	}
	switch {
	case err != nil && m.Resume != "":
		c.refuse(&m, refuse(CodeExpired, "the session is gone"), CloseExpired)
		return
	case err != nil:
		c.refuse(&m, err, CloseUnauthorized)
		return
	}
	c.hub.dropSocket(c) // no stranger any more, before the client can know
	s, l, err := c.hub.open(Hello{
		Tenant: native, User: m.User, Exclusive: m.Exclusive, Data: m.Data,
		Address: c.address, Claims: claims, Join: m,
	}, c)
	if err != nil {
		c.refuse(&m, err, closeCode(err))
		return
	}
	c.session, c.link = s, l
	c.begun()
}

// closeCode is the close code after a hello that was refused.
func closeCode(err *Error) int {
	switch err.Code {
	case CodeUnauthorized:
		return CloseUnauthorized
	case CodeInternal:
		return CloseGoing
	case CodeLimit:
		return CloseRate
	}
	return CloseForbidden
}

func (c *socket) resume(m *Message) bool {
	peer, generation, ok := c.hub.resumer.verify(m.Resume)
	if !ok {
		return false
	}
	s := c.hub.session(peer)
	if s == nil {
		return false
	}
	c.hub.dropSocket(c)
	l := s.resume(c, generation, m)
	if l == nil {
		return false
	}
	c.session, c.link = s, l
	return true
}

func (c *socket) begun() {
	c.hub.metrics.received.WithLabelValues(TypeHello).Inc()
	c.wire.dead = time.Now().Add(c.hub.o.DeadAfter)
	if c.parkable = descriptor(c.wire.Conn) != nil; c.parkable {
		c.wire.arm(longAgo) // park at once, unless the client has said more
		return
	}
	c.wire.arm(c.wire.dead)
}

// longAgo is a deadline that has passed: only what is in the buffers can be read.
var longAgo = time.Unix(1, 0)

// refuse answers a hello and closes, late if too many tokens of this address were worth
// nothing.
func (c *socket) refuse(m *Message, err *Error, code int) {
	if err.Code == CodeUnauthorized || err.Code == CodeForbidden || err.Code == CodeExpired {
		now := time.Now()
		if late := c.hub.failed(now, c.caller); late > 0 && c.hub.waits(c) {
			c.verdict = func() { c.answer(m, err, code) }
			c.extend(now, late)
			return
		}
	}
	c.answer(m, err, code)
}

func (c *socket) answer(m *Message, err *Error, code int) {
	c.hub.metrics.refused.WithLabelValues(err.Code).Inc()
	e := errorEvent(m, err)
	c.Send([]Frame{{Event: e}})
	c.Close(code, err.Code)
}

// Send implements Transport: one write for the whole batch. A ping wakes the socket, so
// that it sees whether the client is there.
func (c *socket) Send(batch []Frame) error {
	_, _, err := c.send(batch, func(p []byte) (bool, error) { return true, c.wire.send(p) })
	return err
}

// Prompt implements Prompter.
func (c *socket) Prompt() bool { return c.wire.try != nil }

// TrySend implements Prompter.
func (c *socket) TrySend(batch []Frame) (rest []Frame, room bool, err error) {
	return c.send(batch, c.wire.trySend)
}

// send makes batch into frames, and gives those to put as long as it has room.
func (c *socket) send(batch []Frame, put func(p []byte) (room bool, err error)) (rest []Frame, room bool, err error) {
	b := batchBuffers.Get().(*[]byte)
	defer func() {
		if cap(*b) <= maxKept {
			*b = (*b)[:0]
			batchBuffers.Put(b)
		}
	}()
	from := 0 // of what is in b
	for i, f := range batch {
		if f.Event.Type == TypePing {
			c.hub.lot.wake(c)
		}
		if len(*b) > maxKept/2 {
			if room, err = put(*b); errors.Is(err, errBusy) {
				return batch[from:], false, nil
			} else if !room || err != nil {
				return batch[i:], room, err
			}
			*b, from = (*b)[:0], i
		}
		*b = f.append(*b)
	}
	if room, err = put(*b); errors.Is(err, errBusy) {
		return batch[from:], false, nil
	}
	return nil, room, err
}

// append appends the WebSocket frame of f.
func (f Frame) append(b []byte) []byte {
	if f.Event.Type == TypePing {
		return appendHeader(b, finPing, 0)
	}
	var head [32]byte
	seq := appendSeq(head[:0], f.Seq)
	rest := f.Event.JSON()
	if f.Seq != 0 {
		rest = rest[1:] // its brace is the one of seq
	}
	b = appendHeader(b, finText, len(seq)+len(rest))
	return append(append(b, seq...), rest...)
}

// Close implements Transport: the close frame, then a little time for the far
// side's, which the reader waits for.
func (c *socket) Close(code int, reason string) {
	defer c.hub.lot.wake(c) // its reader sees to the rest
	if code == 0 {
		c.conn.Close()
		return
	}
	if c.wire.closing.Swap(true) {
		return
	}
	message := websocket.FormatCloseMessage(code, reason)
	deadline := time.Now().Add(c.hub.o.WriteTimeout)
	err := c.conn.WriteControl(websocket.CloseMessage, message, deadline)
	if err != nil && !errors.Is(err, websocket.ErrCloseSent) {
		c.conn.Close()
		return
	}
	cut := time.Now().Add(closeGrace)
	c.wire.cut.Store(&cut)
	c.conn.SetReadDeadline(cut)
}
