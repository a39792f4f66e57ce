package socketio

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"net/netip"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"rtcd/signaling"
	"rtcd/signaling/dialect/socketio/engine"
)

// Options are fixed at birth. Zero means the default in parentheses.
type Options struct {
	// Engine bounds the channel below; its Accept is ours.
	Engine engine.Options
	// Off lists the vocabularies that are not spoken (none): p2p, pair, call, chat, easyrtc.
	Off []string
	// Addresses are told to whoever asks for `ipaddr` (nobody is told any).
	Addresses func() []netip.Addr
	// Open says that the hub admits everybody (`auth: none`): then an unregistered
	// socket may ask for `ipaddr` too.
	Open bool
	// Scripts holds what pages load from here, such as socket.io.js (nothing).
	Scripts fs.FS
	// ConnectTimeout is for a client of Socket.IO 3 or 4 to connect a namespace (45 s).
	ConnectTimeout time.Duration

	Log     *slog.Logger          // (discarded)
	Metrics prometheus.Registerer // (not registered)
}

// Gateway is the door for Socket.IO. Make one with New, run it with Run, serve it
// with ServeHTTP on /socket.io/. It ends before its hub does.
type Gateway struct {
	hub    *signaling.Hub
	o      Options
	log    *slog.Logger
	engine *engine.Server
}

// New returns a gateway to the hub.
func New(hub *signaling.Hub, o Options) *Gateway {
	o.ConnectTimeout = cmp.Or(o.ConnectTimeout, 45*time.Second)
	o.Engine.Guard = hub.Guard
	g := &Gateway{hub: hub, o: o, log: o.Log}
	if g.log == nil {
		g.log = slog.New(slog.DiscardHandler)
	}
	o.Engine.Accept = g.accept
	g.engine = engine.New(o.Engine)
	if o.Metrics != nil {
		o.Metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Namespace: "rtcd", Subsystem: "socketio", Name: "connections",
			Help: "Open connections of Socket.IO, by whatever transport.",
		}, func() float64 { return float64(g.engine.Len()) }))
	}
	return g
}

// Run returns when ctx is done, all connections are closed and their goroutines over.
func (g *Gateway) Run(ctx context.Context) error { return g.engine.Run(ctx) }

// ServeHTTP serves /socket.io/ and the scripts below it.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	file := path.Base(r.URL.Path)
	if strings.HasSuffix(file, ".js") || strings.HasSuffix(file, ".map") {
		if g.o.Scripts == nil {
			http.NotFound(w, r)
			return
		}
		http.ServeFileFS(w, r, g.o.Scripts, file)
		return
	}
	g.engine.ServeHTTP(w, r)
}

// accept looks at the token in a handshake's address.
func (g *Gateway) accept(r *http.Request) (engine.Handler, error) {
	q := r.URL.Query()
	claims, err := g.hub.Authorize(q.Get("token"), time.Now())
	if err != nil {
		g.hub.Penalize(r)
		return nil, errors.New("Forbidden")
	}
	room := q.Get("room")
	if !validName(room) {
		room = claims.Room
	}
	return &client{
		gateway: g, claims: claims, named: room, room: cmp.Or(room, "lobby"), sockets: map[string]*socket{},
	}, nil
}

func (g *Gateway) speaks(vocabulary string) bool { return !slices.Contains(g.o.Off, vocabulary) }
