package engine

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	"golang.org/x/time/rate"

	"rtcd/signaling/dialect/bounds"
)

// Server holds the connections. Make one with New, run it with Run, serve it with
// ServeHTTP.
type Server struct {
	o  Options
	wg sync.WaitGroup // connections, and the goroutines of their sockets

	mu     sync.Mutex // guards the following
	conns  map[string]*Conn
	closed bool
	gates  [2]map[string]*rate.Limiter // handshakes by address: young, old
	turned time.Time                   // when young became old
}

// New returns a server.
func New(o Options) *Server {
	return &Server{o: o.withDefaults(), conns: map[string]*Conn{}, gates: [2]map[string]*rate.Limiter{{}, {}}}
}

// Run waits until ctx is done, then closes all connections and returns when their
// goroutines have ended.
func (s *Server) Run(ctx context.Context) error {
	<-ctx.Done()
	s.mu.Lock()
	s.closed = true
	conns := make([]*Conn, 0, len(s.conns))
	for _, c := range s.conns {
		conns = append(conns, c)
	}
	s.mu.Unlock()
	for _, c := range conns {
		c.Close()
		c.server.forget(c)
	}
	s.wg.Wait()
	return nil
}

// Len is the number of connections.
func (s *Server) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// refusal is an error as Engine.IO words it.
type refusal struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

var (
	badTransport = &refusal{0, "Transport unknown"}
	badSession   = &refusal{1, "Session ID unknown"}
	badMethod    = &refusal{2, "Bad handshake method"}
	badRequest   = &refusal{3, "Bad request"}
	forbidden    = &refusal{4, "Forbidden"}
	badVersion   = &refusal{5, "Unsupported protocol version"}
)

func (f *refusal) write(w http.ResponseWriter) {
	status := http.StatusBadRequest
	if f.Code == forbidden.Code {
		status = http.StatusForbidden
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(f)
}

// ServeHTTP serves handshakes, polls and WebSockets, on any path.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if !s.o.Origin(r) {
		forbidden.write(w)
		return
	}
	cors(w, r)
	switch r.Method {
	case http.MethodOptions:
		w.WriteHeader(http.StatusNoContent)
		return
	case http.MethodHead:
		return
	}
	q := r.URL.Query()
	transport := q.Get("transport")
	if transport != "polling" && transport != "websocket" || (transport == "websocket") != websocket.IsWebSocketUpgrade(r) {
		badTransport.write(w)
		return
	}
	if sid := q.Get("sid"); sid != "" {
		s.serveOld(w, r, sid, transport)
		return
	}
	s.serveNew(w, r, transport)
}

// cors lets the page that asks read the answer. There are no cookies.
func cors(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Add("Vary", "Origin")
	origin := r.Header.Get("Origin")
	if origin == "" {
		return
	}
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Allow-Credentials", "true")
	if r.Method == http.MethodOptions {
		h.Set("Access-Control-Allow-Methods", "GET,HEAD,POST,OPTIONS")
		if wanted := r.Header.Get("Access-Control-Request-Headers"); wanted != "" {
			h.Set("Access-Control-Allow-Headers", wanted)
			h.Add("Vary", "Access-Control-Request-Headers")
		}
		h.Set("Access-Control-Max-Age", "600")
	}
}

// serveOld serves a request of a connection that is there.
func (s *Server) serveOld(w http.ResponseWriter, r *http.Request, sid, transport string) {
	c := s.find(sid)
	switch {
	case c == nil || c.address != s.o.Address(r):
		badSession.write(w)
	case transport == "websocket":
		c.upgrade(w, r)
	case c.agent != r.UserAgent():
		badSession.write(w)
	case !c.polling():
		badRequest.write(w)
	case r.Method == http.MethodGet:
		c.serveGet(w, r)
	case r.Method == http.MethodPost:
		c.servePost(w, r)
	default:
		badMethod.write(w)
	}
}

// serveNew serves a handshake.
func (s *Server) serveNew(w http.ResponseWriter, r *http.Request, transport string) {
	q := r.URL.Query()
	rev := 3
	switch q.Get("EIO") {
	case "", "3":
	case "4":
		rev = 4
	default:
		badVersion.write(w)
		return
	}
	if r.Method != http.MethodGet {
		badMethod.write(w)
		return
	}
	handler, err := s.o.Accept(r)
	if err != nil {
		(&refusal{forbidden.Code, err.Error()}).write(w)
		return
	}
	address := s.o.Address(r)
	if !s.admit(address) {
		w.Header().Set("Retry-After", "5")
		http.Error(w, "too many connections", http.StatusServiceUnavailable)
		return
	}
	var ws *websocket.Conn
	if transport == "websocket" {
		if ws, err = s.upgrade(w, r); err != nil {
			s.wg.Done()
			return
		}
	}
	c := &Conn{
		server: s, id: newID(), rev: rev, b64: q.Get("b64") == "1" || q.Get("b64") == "true",
		address: address, agent: r.UserAgent(), handler: handler,
		pace: bounds.NewPace(s.o.Messages, s.o.Burst, s.o.Bytes, s.o.MaxPayload),
	}
	c.out = bounds.NewQueue(
		bounds.QueueOptions{Items: s.o.Queue, Bytes: s.o.QueueBytes, Timeout: s.o.WriteTimeout},
		&c.mu, func(p Packet) int { return len(p.Data) }, c.wakeLocked)
	s.begin(c, ws == nil)
	if ws == nil {
		c.serveGet(w, r)
	} else {
		c.run(ws)
	}
}

// begin opens the connection and makes it known. One that comes after the end is
// ended.
func (s *Server) begin(c *Conn, polling bool) {
	c.recv.Lock()
	defer c.recv.Unlock()
	c.begin(polling)
	s.mu.Lock()
	closed := s.closed
	if !closed {
		s.conns[c.id] = c
	}
	s.mu.Unlock()
	c.handler.Opened(c)
	if closed {
		c.abort()
	}
}

// admit counts a connection in, unless there are too many of all or of its address.
func (s *Server) admit(address string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.conns) >= s.o.Connections || !s.gateLocked(address).Allow() {
		return false
	}
	s.wg.Add(1)
	return true
}

// gateLocked is the address's limiter of handshakes. A limiter that nobody asked
// for in two rounds would be full again and is forgotten.
func (s *Server) gateLocked(address string) *rate.Limiter {
	const round = 20 * time.Second
	if now := time.Now(); now.Sub(s.turned) > round {
		s.gates[0], s.gates[1], s.turned = map[string]*rate.Limiter{}, s.gates[0], now
	}
	l := s.gates[0][address]
	if l == nil {
		if l = s.gates[1][address]; l == nil {
			l = rate.NewLimiter(rate.Limit(s.o.Handshakes), int(10*s.o.Handshakes))
		}
		s.gates[0][address] = l
	}
	return l
}

func (s *Server) find(sid string) *Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conns[sid]
}

func (s *Server) forget(c *Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c.id)
}

// newID returns 120 random bits as 20 characters.
func newID() string {
	var b [15]byte
	rand.Read(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}
