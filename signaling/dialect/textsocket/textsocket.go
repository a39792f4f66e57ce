// Package textsocket is the channel of the dialects that speak JSON over a plain
// WebSocket: frames in both directions, bounds, signs of life, and goroutines that
// somebody waits for. It knows nothing of what the frames mean.
//
// Reading is slowed down to Messages and Bytes a second: a flood waits in its own
// socket. Send waits while the queue is full, for WriteTimeout at most: then the
// socket ends. The server pings every PingInterval; a socket that is silent for
// DeadAfter ends. Each socket has a reader; a writer exists only while there is
// something to write. Run returns when all have ended.
package textsocket

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"rtcd/signaling/dialect/bounds"
)

// closeGrace is how long a closed socket waits for the far side's close frame.
const closeGrace = 5 * time.Second

// Options are fixed at birth. Zero means the default in parentheses.
type Options struct {
	Origin  func(r *http.Request) bool   // whether the page that asks may (any may)
	Address func(r *http.Request) string // the client's (RemoteAddr's host)
	Guard   func(end func())             // deferred by each goroutine of a socket: recovers from a panic, and then calls end (it does nothing)

	PingInterval time.Duration // (25 s)
	DeadAfter    time.Duration // (60 s)
	WriteTimeout time.Duration // for one frame, and for room in the queue (10 s)

	MaxMessage int     // bytes of one frame (64 KiB)
	Messages   float64 // taken of one socket in a second (50) …
	Burst      int     // … after so many at once (200)
	Bytes      float64 // taken of one socket in a second, after as many at once (1 MiB)
	Queue      int     // frames waiting before Send waits (64)
	QueueBytes int     // bytes waiting before Send waits (64 KiB)
	Sockets    int     // at once (20,000)
}

func (o Options) withDefaults() Options {
	if o.Origin == nil {
		o.Origin = func(*http.Request) bool { return true }
	}
	if o.Address == nil {
		o.Address = func(r *http.Request) string {
			host, _, err := net.SplitHostPort(r.RemoteAddr)
			if err != nil {
				return r.RemoteAddr
			}
			return host
		}
	}
	if o.Guard == nil {
		o.Guard = func(func()) {}
	}
	o.PingInterval = cmp.Or(o.PingInterval, 25*time.Second)
	o.DeadAfter = cmp.Or(o.DeadAfter, 60*time.Second)
	o.WriteTimeout = cmp.Or(o.WriteTimeout, 10*time.Second)
	o.MaxMessage = cmp.Or(o.MaxMessage, 64<<10)
	o.Messages = cmp.Or(o.Messages, 50)
	o.Burst = cmp.Or(o.Burst, 200)
	o.Bytes = cmp.Or(o.Bytes, 1<<20)
	o.Queue = cmp.Or(o.Queue, 64)
	o.QueueBytes = cmp.Or(o.QueueBytes, 64<<10)
	o.Sockets = cmp.Or(o.Sockets, 20_000)
	return o
}

// Handler is what runs on one socket. Its methods are called one at a time.
type Handler interface {
	// Opened is the first call.
	Opened(s *Socket)
	// Receive takes a frame, which is the handler's.
	Receive(frame []byte)
	// Closed is the last call.
	Closed()
}

// Server holds the sockets. Make one with New, run it with Run, give it requests with
// Serve.
type Server struct {
	o  Options
	wg sync.WaitGroup // readers and writers

	mu      sync.Mutex // guards the following
	sockets map[*Socket]struct{}
	closed  bool
}

// New returns a server.
func New(o Options) *Server {
	return &Server{o: o.withDefaults(), sockets: map[*Socket]struct{}{}}
}

// Run waits until ctx is done, then closes all sockets and returns when their
// goroutines have ended.
func (s *Server) Run(ctx context.Context) error {
	<-ctx.Done()
	s.mu.Lock()
	s.closed = true
	sockets := make([]*Socket, 0, len(s.sockets))
	for c := range s.sockets {
		sockets = append(sockets, c)
	}
	s.mu.Unlock()
	for _, c := range sockets {
		c.Close(websocket.CloseGoingAway, "going")
	}
	s.wg.Wait()
	return nil
}

// Len is the number of sockets.
func (s *Server) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sockets)
}

// Admits says whether the request comes from a page that may; else it has answered.
func (s *Server) Admits(w http.ResponseWriter, r *http.Request) bool {
	if !s.o.Origin(r) {
		http.Error(w, "origin", http.StatusForbidden)
		return false
	}
	return true
}

// Address is the client's.
func (s *Server) Address(r *http.Request) string { return s.o.Address(r) }

var writeBuffers sync.Pool

// Serve makes a socket of a request. It returns at once; the socket lives on a
// goroutine of the server.
func (s *Server) Serve(w http.ResponseWriter, r *http.Request, h Handler) {
	if !s.Admits(w, r) {
		return
	}
	c := &Socket{
		server: s, handler: h,
		pace: bounds.NewPace(s.o.Messages, s.o.Burst, s.o.Bytes, s.o.MaxMessage),
	}
	c.out = bounds.NewQueue(
		bounds.QueueOptions{Items: s.o.Queue, Bytes: s.o.QueueBytes, Timeout: s.o.WriteTimeout},
		&c.mu, func(frame []byte) int { return len(frame) }, c.wakeLocked)
	if !s.add(c) {
		w.Header().Set("Retry-After", "5")
		http.Error(w, "too many connections", http.StatusServiceUnavailable)
		return
	}
	up := websocket.Upgrader{
		HandshakeTimeout: 5 * time.Second, ReadBufferSize: 512, WriteBufferSize: 1024, WriteBufferPool: &writeBuffers,
		CheckOrigin: func(*http.Request) bool { return true }, // Admits has looked
	}
	conn, err := up.Upgrade(w, r, nil)
	if err != nil {
		s.drop(c)
		s.wg.Done()
		return
	}
	c.begin(conn)
	// Owned by the server's WaitGroup; ends when the socket does.
	go c.run()
}

// add counts a socket's reader in, unless there are too many.
func (s *Server) add(c *Socket) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.sockets) >= s.o.Sockets {
		return false
	}
	s.sockets[c] = struct{}{}
	s.wg.Add(1)
	return true
}

func (s *Server) drop(c *Socket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sockets, c)
}

// Socket is one WebSocket.
type Socket struct {
	server  *Server
	handler Handler
	pace    *bounds.Pace

	mu      sync.Mutex            // guards the following
	conn    *websocket.Conn       // nil until the upgrade is through
	out     *bounds.Queue[[]byte] // a nil frame is a ping
	writing bool
	code    int // with which to close when the queue is empty; 0 = not
	reason  string
	timer   *time.Timer
}

func (c *Socket) begin(conn *websocket.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conn = conn
	if c.out.OverLocked() { // closed while it was upgraded
		conn.Close()
		return
	}
	c.timer = time.AfterFunc(c.server.o.PingInterval, c.ping)
}

func (c *Socket) ping() {
	defer c.server.o.Guard(c.abort)
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.out.OverLocked() {
		c.out.PushLocked(nil)
		c.timer.Reset(c.server.o.PingInterval)
	}
}

// run reads until the socket ends.
func (c *Socket) run() {
	defer c.server.wg.Done()
	defer c.server.o.Guard(c.abort)
	defer c.server.drop(c)
	defer c.conn.Close()
	defer c.handler.Closed()
	defer c.abort()
	c.conn.SetReadLimit(int64(c.server.o.MaxMessage))
	c.extend()
	control := func(kind int) func(string) error {
		return func(data string) error {
			if !c.pace.Hold(0, c.out.Done()) {
				return bounds.ErrOver
			}
			c.extend()
			if kind == websocket.PongMessage {
				c.conn.WriteControl(kind, []byte(data), time.Now().Add(time.Second))
			}
			return nil
		}
	}
	c.conn.SetPingHandler(control(websocket.PongMessage))
	c.conn.SetPongHandler(control(0))
	c.handler.Opened(c)
	for {
		_, frame, err := c.conn.ReadMessage()
		if err != nil {
			return
		}
		if c.isOver() {
			continue // reading on for the far side's close frame
		}
		if c.pace.Hold(len(frame), c.out.Done()) {
			c.extend()
			c.handler.Receive(frame)
		}
	}
}

func (c *Socket) isOver() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out.OverLocked()
}

// extend moves the read deadline, but not that of a socket which is closing.
func (c *Socket) extend() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.out.OverLocked() {
		c.conn.SetReadDeadline(time.Now().Add(c.server.o.DeadAfter))
	}
}

// Send queues frames. It waits while too much is queued, for WriteTimeout at most:
// then the socket ends.
func (c *Socket) Send(frames ...[]byte) error { return c.judge(c.out.Send(frames...)) }

// Post queues an answer to the client's own frames without waiting. A client that
// asks on and on but does not read is cut off.
func (c *Socket) Post(frame []byte) { c.judge(c.out.Post(frame)) }

// judge cuts off a client that is too slow.
func (c *Socket) judge(err error) error {
	if errors.Is(err, bounds.ErrSlow) {
		c.abort()
	}
	return err
}

func (c *Socket) wakeLocked() {
	if c.writing {
		return
	}
	c.writing = true
	c.server.wg.Add(1)
	// Owned by the server's WaitGroup, in which the reader still is; ends when the queue
	// is empty or a write fails, which takes WriteTimeout at most.
	go c.write()
}

// Close sends what is queued, then the code and reason. It may be called more than
// once.
func (c *Socket) Close(code int, reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.endLocked() || c.conn == nil {
		return
	}
	c.code, c.reason = code, reason
	c.wakeLocked()
}

// abort ends the socket now.
func (c *Socket) abort() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.endLocked() && c.conn != nil {
		c.conn.Close()
	}
}

func (c *Socket) endLocked() bool {
	if !c.out.EndLocked() {
		return false
	}
	if c.timer != nil {
		c.timer.Stop()
	}
	return true
}

// write sends what is queued, as long as something is.
func (c *Socket) write() {
	defer c.server.wg.Done()
	defer c.server.o.Guard(c.abort)
	for {
		frames, code, reason := c.take()
		if len(frames) == 0 && code == 0 {
			return
		}
		if c.flush(frames, code, reason) != nil {
			c.conn.Close() // its reader notices; c.writing stays, so nobody writes again
			return
		}
	}
}

// take returns what the writer is to send; nothing, and it is one no more.
func (c *Socket) take() (frames [][]byte, code int, reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	frames, code, c.code = c.out.TakeLocked(), c.code, 0
	c.writing = len(frames) > 0 || code != 0
	return frames, code, c.reason
}

func (c *Socket) flush(frames [][]byte, code int, reason string) error {
	for _, f := range frames {
		deadline := time.Now().Add(c.server.o.WriteTimeout)
		c.conn.SetWriteDeadline(deadline)
		err := error(nil)
		if f == nil {
			err = c.conn.WriteControl(websocket.PingMessage, nil, deadline)
		} else {
			err = c.conn.WriteMessage(websocket.TextMessage, f)
		}
		if err != nil {
			return err
		}
	}
	if code == 0 {
		return nil
	}
	c.conn.SetReadDeadline(time.Now().Add(closeGrace))
	return c.conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, reason),
		time.Now().Add(c.server.o.WriteTimeout))
}
