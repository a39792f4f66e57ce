package signaling

import (
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
	"golang.org/x/time/rate"
)

const (
	// Subprotocol is the native protocol's name in the WebSocket handshake.
	Subprotocol = "rtcd.v1"

	tokenPrefix  = "token." // a second subprotocol that carries the join token
	controlRate  = 5        // control frames a second …
	controlBurst = 20       // … after so many at once
	closeGrace   = 5 * time.Second
)

// socket is the native protocol's Transport: one WebSocket.
type socket struct {
	hub      *Hub
	conn     *websocket.Conn
	cork     *corked
	address  string
	token    string // from the handshake
	controls *rate.Limiter

	session *Session // the reader's
	link    *link

	closing atomic.Bool
	buf     []byte // the writer's
}

var writeBuffers sync.Pool

// ServeHTTP upgrades a request to the native protocol. It returns at once; the
// socket lives on a goroutine of the hub.
func (h *Hub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if status, reason := h.refuses(r); status != 0 {
		h.metrics.rejected.WithLabelValues(reason).Inc()
		if status == http.StatusServiceUnavailable {
			w.Header().Set("Retry-After", strconv.Itoa(max(1, int(h.retryAfter()/time.Second))))
		}
		http.Error(w, reason, status)
		return
	}
	up := websocket.Upgrader{
		HandshakeTimeout: 5 * time.Second,
		ReadBufferSize:   512,
		WriteBufferSize:  1024,
		WriteBufferPool:  &writeBuffers,
		Subprotocols:     []string{Subprotocol},
		CheckOrigin:      func(*http.Request) bool { return true }, // refuses has looked
	}
	corker := &corkingHijacker{ResponseWriter: w, timeout: h.o.WriteTimeout}
	conn, err := up.Upgrade(corker, r, nil)
	if err != nil {
		h.metrics.rejected.WithLabelValues("handshake").Inc()
		return // Upgrade has answered
	}
	c := &socket{
		hub: h, conn: conn, cork: corker.conn, address: h.o.Address(r), token: offeredToken(r),
		controls: rate.NewLimiter(controlRate, controlBurst),
	}
	if !h.addSocket(c) {
		conn.Close()
		return
	}
	// Owned by the hub's WaitGroup; ends when the socket does.
	go c.run()
}

// refuses returns the HTTP status for a request that shall not become a socket.
func (h *Hub) refuses(r *http.Request) (status int, reason string) {
	offered := websocket.Subprotocols(r)
	switch {
	case h.isDraining():
		return http.StatusServiceUnavailable, "draining"
	case !originAllowed(h.o.Origins, r):
		return http.StatusForbidden, "origin"
	case len(offered) > 0 && !slices.Contains(offered, Subprotocol):
		return http.StatusBadRequest, "subprotocol"
	}
	return 0, ""
}

func (h *Hub) retryAfter() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.retry
}

func offeredToken(r *http.Request) string {
	for _, p := range websocket.Subprotocols(r) {
		if token, found := strings.CutPrefix(p, tokenPrefix); found {
			return token
		}
	}
	return ""
}

// addSocket counts the socket's goroutine in, unless the hub is on its way out.
func (h *Hub) addSocket(c *socket) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.draining {
		return false
	}
	h.sockets[c] = struct{}{}
	h.wg.Add(1)
	h.metrics.sockets.Inc()
	return true
}

func (h *Hub) dropSocket(c *socket) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.sockets, c)
}

// run reads until the socket ends.
func (c *socket) run() {
	defer c.hub.wg.Done()
	defer c.hub.metrics.sockets.Dec()
	defer c.hub.dropSocket(c)
	defer c.conn.Close()
	c.conn.SetReadLimit(int64(c.hub.o.Limits.MessageBytes))
	c.conn.SetPingHandler(func(data string) error {
		if c.control() {
			c.conn.WriteControl(websocket.PongMessage, []byte(data), time.Now().Add(time.Second))
		}
		return nil
	})
	c.conn.SetPongHandler(func(string) error { c.control(); return nil })
	c.extend(c.hub.o.HelloTimeout)
	err := c.serve()
	if err == nil && c.session == nil {
		c.Close(CloseInternal, "internal error")
	}
	if err == nil || errors.Is(err, websocket.ErrReadLimit) {
		c.linger()
	}
}

// serve returns why the socket ended; nil after a panic.
func (c *socket) serve() (err error) {
	defer c.hub.guard(&c.session)
	ended := c.read()
	c.ended(ended)
	return ended
}

// read takes frames until there is an error; it is never called again after one.
func (c *socket) read() error {
	for {
		kind, data, err := c.conn.ReadMessage()
		switch {
		case err != nil:
			return err
		case c.closing.Load():
			continue // reading on for the far side's close frame
		case kind != websocket.TextMessage:
			c.fail(CloseProtocol, "a binary frame")
		case c.session == nil:
			c.hello(data)
		case c.session.receive(c.link, data):
			c.extend(c.hub.o.DeadAfter)
		}
	}
}

// extend moves the read deadline, but not that of a socket which is closing.
func (c *socket) extend(d time.Duration) {
	c.conn.SetReadDeadline(time.Now().Add(d))
	if c.closing.Load() {
		c.conn.SetReadDeadline(time.Now().Add(closeGrace))
	}
}

// control counts pings and pongs, which no message limit sees, and says whether
// this one still counts as a sign of life.
func (c *socket) control() bool {
	if c.closing.Load() {
		return false
	}
	if !c.controls.AllowN(time.Now(), 1) {
		c.fail(CloseRate, "too many control frames")
		return false
	}
	if c.session != nil {
		c.extend(c.hub.o.DeadAfter)
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
	var timeout net.Error
	switch {
	case c.session == nil:
		if errors.As(err, &timeout) && timeout.Timeout() && !c.closing.Load() {
			c.Close(CloseUnauthorized, "no hello in time")
		}
	case errors.Is(err, websocket.ErrReadLimit): // the library has sent 1009
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
	switch {
	case err != nil && m.Resume != "":
		c.refuse(&m, refuse(CodeExpired, "the session is gone"), CloseExpired)
		return
	case err != nil:
		c.refuse(&m, err, CloseUnauthorized)
		return
	}
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
	l := s.resume(c, generation, m)
	if l == nil {
		return false
	}
	c.session, c.link = s, l
	return true
}

func (c *socket) begun() {
	c.hub.dropSocket(c)
	c.hub.metrics.received.WithLabelValues(TypeHello).Inc()
	c.extend(c.hub.o.DeadAfter)
}

// refuse answers a hello and closes.
func (c *socket) refuse(m *Message, err *Error, code int) {
	c.hub.metrics.refused.WithLabelValues(err.Code).Inc()
	e := errorEvent(m, err)
	c.Send([]Frame{{Event: e}})
	c.Close(code, err.Code)
}

// Send implements Transport.
func (c *socket) Send(batch []Frame) error {
	c.cork.hold()
	err := c.writeAll(batch)
	if cap(c.buf) > 4096 || len(batch) < batchSize {
		c.buf = nil // an idle socket costs nothing
	}
	if flushed := c.cork.release(); err == nil { // also a close frame that the reader answered with
		err = flushed
	}
	return err
}

func (c *socket) writeAll(batch []Frame) error {
	for _, f := range batch {
		var err error
		if f.Event.Type == TypePing {
			err = c.conn.WriteControl(websocket.PingMessage, nil, time.Now().Add(c.hub.o.WriteTimeout))
		} else {
			c.buf = f.Event.AppendFrame(c.buf[:0], f.Seq)
			err = c.conn.WriteMessage(websocket.TextMessage, c.buf)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Close implements Transport: the close frame, then a little time for the far
// side's, which the reader waits for.
func (c *socket) Close(code int, reason string) {
	if code == 0 {
		c.conn.Close()
		return
	}
	if c.closing.Swap(true) {
		return
	}
	message := websocket.FormatCloseMessage(code, reason)
	deadline := time.Now().Add(c.hub.o.WriteTimeout)
	err := c.conn.WriteControl(websocket.CloseMessage, message, deadline)
	if err != nil && !errors.Is(err, websocket.ErrCloseSent) {
		c.conn.Close()
		return
	}
	c.conn.SetReadDeadline(time.Now().Add(closeGrace))
}
