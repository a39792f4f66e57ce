package jsonws

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"rtcd/signaling"
	"rtcd/signaling/dialect/rawjson"
	"rtcd/signaling/dialect/textsocket"
)

// Options are fixed at birth. Zero means the default in parentheses.
type Options struct {
	// Socket bounds the sockets.
	Socket textsocket.Options
	// Mount is the path in front of the tenant's name ("/json").
	Mount string
	// NoLogin and NoTopics leave out one of the two kinds of clients (both are served).
	NoLogin, NoTopics bool
	// Metrics gets the gauges (not registered).
	Metrics prometheus.Registerer
}

// Server is the door for JSON over a plain WebSocket. Make one with New, run it with
// Run, serve it with ServeHTTP. It ends before its hub does.
type Server struct {
	hub     *signaling.Hub
	o       Options
	sockets *textsocket.Server
}

// New returns a door to the hub.
func New(hub *signaling.Hub, o Options) *Server {
	if o.Mount == "" {
		o.Mount = "/json"
	}
	o.Socket.Guard = hub.Guard
	s := &Server{hub: hub, o: o, sockets: textsocket.New(o.Socket)}
	if o.Metrics != nil {
		o.Metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Namespace: "rtcd", Subsystem: "jsonws", Name: "sockets", Help: "Open WebSockets of plain JSON.",
		}, func() float64 { return float64(s.sockets.Len()) }))
	}
	return s
}

// Run returns when ctx is done, all sockets are closed and their goroutines over.
func (s *Server) Run(ctx context.Context) error { return s.sockets.Run(ctx) }

// ServeHTTP upgrades a request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	claims, err := s.hub.Authorize(r.URL.Query().Get("token"), time.Now())
	if err != nil {
		status := http.StatusUnauthorized
		if !s.hub.Penalize(r) {
			status = http.StatusTooManyRequests
		}
		http.Error(w, err.Message, status)
		return
	}
	tenant := strings.Trim(strings.TrimPrefix(r.URL.Path, s.o.Mount), "/")
	if tenant != "" && !rawjson.IsName(tenant) {
		http.Error(w, "not a name of a tenant", http.StatusNotFound)
		return
	}
	if claims.Room != "" {
		tenant += "#" + claims.Room
	}
	s.sockets.Serve(w, r, &client{hub: s.hub, o: &s.o, tenant: tenant, address: s.sockets.Address(r), claims: claims})
}
