package peerjs

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	"github.com/prometheus/client_golang/prometheus"

	"rtcd/creds"
	"rtcd/signaling"
	"rtcd/signaling/dialect/textsocket"
)

// What PeerServer says.
const (
	banner        = `{"name":"PeerJS Server","description":"A server side element to broker connections between PeerJS clients.","website":"https://peerjs.com/"}`
	invalidKey    = "Invalid key provided"
	invalidToken  = "Invalid token provided"
	noParameters  = "No id, token, or key supplied to websocket server"
	limitExceeded = "Server has reached its concurrent user limit"
)

const (
	maxID    = 128              // bytes, as of any name in the hub
	maxToken = 256              // bytes
	maxWait  = 10 * time.Second // the hub's
)

// validID is what the client calls valid.
var validID = regexp.MustCompile(`^[A-Za-z0-9]+([ _-][A-Za-z0-9]+)*$`)

// Options are fixed at birth. Zero means the default in parentheses.
type Options struct {
	// Socket bounds the sockets, and says which pages may come.
	Socket textsocket.Options
	// Mount is the path in front of all others, PeerServer's `path` ("").
	Mount string
	// Expire is how long a message waits for one who is not there, 10 s at most (5 s).
	Expire time.Duration
	// Discovery lists the peers to whoever asks and has a key (nobody is told).
	Discovery bool
	// Metrics gets the gauges (not registered).
	Metrics prometheus.Registerer
}

// Server is the door for PeerJS. Make one with New, run it with Run, serve it with
// ServeHTTP. It ends before its hub does.
type Server struct {
	hub     *signaling.Hub
	o       Options
	sockets *textsocket.Server

	mu    sync.Mutex // guards the following; taken before a client's
	peers map[name]*client
}

// name is an id in its world.
type name struct{ tenant, id string }

// New returns a door to the hub.
func New(hub *signaling.Hub, o Options) *Server {
	o.Expire = min(cmp.Or(o.Expire, 5*time.Second), maxWait)
	o.Mount = strings.TrimSuffix(o.Mount, "/")
	o.Socket.Guard = hub.Guard
	s := &Server{hub: hub, o: o, sockets: textsocket.New(o.Socket), peers: map[name]*client{}}
	if o.Metrics != nil {
		o.Metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Namespace: "rtcd", Subsystem: "peerjs", Name: "sockets", Help: "Open WebSockets of PeerJS.",
		}, func() float64 { return float64(s.sockets.Len()) }))
	}
	return s
}

// Run returns when ctx is done, all sockets are closed and their goroutines over.
func (s *Server) Run(ctx context.Context) error { return s.sockets.Run(ctx) }

// Owns says whether a path is one of PeerJS's. The key may be anything, so that a
// multiplexer cannot tell by a prefix.
func (s *Server) Owns(path string) bool {
	_, verb, ok := s.split(path)
	return ok && verb != ""
}

// split takes a path apart: /peerjs, /KEY/id, /KEY/peers, or nothing.
func (s *Server) split(path string) (key, verb string, ok bool) {
	rest, ok := strings.CutPrefix(path, s.o.Mount)
	rest = strings.TrimPrefix(rest, "/")
	if rest == "" || rest == "peerjs" {
		return "", rest, ok
	}
	key, verb, _ = strings.Cut(rest, "/")
	return key, verb, ok && key != "" && (verb == "id" || verb == "peers")
}

// ServeHTTP answers a request, or makes a socket of it.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	key, verb, ok := s.split(r.URL.Path)
	switch {
	case !ok:
		http.NotFound(w, r)
	case verb == "peerjs" && websocket.IsWebSocketUpgrade(r):
		s.serveSocket(w, r)
	case !s.sockets.Admits(w, r):
	case !s.share(w, r):
	case verb == "id":
		s.serveID(w, r, key)
	case verb == "peers":
		s.servePeers(w, r, key)
	case verb == "":
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		io.WriteString(w, banner)
	default:
		http.NotFound(w, r)
	}
}

// share lets pages of other sites read the answer; the origin has been looked at. It
// returns false if it has answered.
func (s *Server) share(w http.ResponseWriter, r *http.Request) bool {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if origin := r.Header.Get("Origin"); origin != "" {
		h.Set("Access-Control-Allow-Origin", origin)
		h.Set("Vary", "Origin")
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		return true
	case http.MethodOptions:
		h.Set("Access-Control-Allow-Methods", "GET, HEAD")
		if asked := r.Header.Get("Access-Control-Request-Headers"); asked != "" {
			h.Set("Access-Control-Allow-Headers", asked)
		}
		w.WriteHeader(http.StatusNoContent)
	default:
		h.Set("Allow", "GET, HEAD, OPTIONS")
		http.Error(w, http.StatusText(http.StatusMethodNotAllowed), http.StatusMethodNotAllowed)
	}
	return false
}

// serveSocket makes a socket of a request, also of one whose key is worth nothing: that is
// told on the socket.
func (s *Server) serveSocket(w http.ResponseWriter, r *http.Request) {
	c := s.client(r)
	if c.stranger && !s.penalize(w, r) {
		return
	}
	s.sockets.Serve(w, r, c)
}

// penalize makes the answer to a key that is worth nothing late, where many were. It
// returns false if it has answered.
func (s *Server) penalize(w http.ResponseWriter, r *http.Request) bool {
	if !s.hub.Penalize(r) {
		http.Error(w, invalidKey, http.StatusTooManyRequests)
		return false
	}
	return true
}

// serveID hands out an id, also to one whose key is worth nothing, which it learns from the
// socket.
func (s *Server) serveID(w http.ResponseWriter, r *http.Request, key string) {
	id := newID()
	_, claims, err := s.world(key)
	if err != nil && !s.penalize(w, r) {
		return
	}
	if err == nil && claims.Name != "" {
		id = claims.Name
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	io.WriteString(w, id)
}

func (s *Server) servePeers(w http.ResponseWriter, r *http.Request, key string) {
	tenant, _, err := s.world(key)
	if err != nil && !s.penalize(w, r) {
		return
	}
	if !s.o.Discovery || err != nil {
		http.Error(w, http.StatusText(http.StatusUnauthorized), http.StatusUnauthorized)
		return
	}
	ids := []string{}
	s.mu.Lock()
	for n := range s.peers {
		if n.tenant == tenant {
			ids = append(ids, n.id)
		}
	}
	s.mu.Unlock()
	slices.Sort(ids)
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	json.NewEncoder(w).Encode(ids)
}

// world is where a key leads to.
func (s *Server) world(key string) (tenant string, claims creds.Claims, err *signaling.Error) {
	claims, err = s.hub.Authorize(key, time.Now())
	switch {
	case err != nil:
	case claims.Room != "":
		tenant = "peerjs:#" + claims.Room
	case claims.Expires.IsZero(): // it is no token
		tenant = "peerjs:" + key
	default:
		tenant = "peerjs:"
	}
	return tenant, claims, err
}

// newID returns a random UUID (RFC 9562 §5.4).
func newID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
