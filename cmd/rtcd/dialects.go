package main

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/gorilla/websocket"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"rtcd/config"
	"rtcd/signaling"
	"rtcd/signaling/dialect/jsonws"
	"rtcd/signaling/dialect/peerjs"
	"rtcd/signaling/dialect/socketio"
	"rtcd/signaling/dialect/socketio/engine"
	"rtcd/signaling/dialect/textsocket"
)

// dialects are the doors through which the clients of other systems come to the hub.
// One that is switched off is nil.
type dialects struct {
	hub      *signaling.Hub
	socketio *socketio.Gateway
	shim     bool
	plain    *jsonws.Server
	peers    *peerjs.Server
	scripts  *scripts

	gone  <-chan struct{} // closed by leave
	leave func()
}

// newDialects opens the doors that the configuration leaves on.
func newDialects(c *config.Loaded, hub *signaling.Hub, metrics prometheus.Registerer) (_ *dialects, err error) {
	gone, leave := context.WithCancel(context.Background())
	d := &dialects{hub: hub, gone: gone.Done(), leave: leave}
	on := c.Signaling.Dialects
	if d.scripts, err = openScripts(on.Scripts); err != nil {
		return nil, err
	}
	limits := hubLimits(c)
	channel := engine.Options{
		Origin: hub.OriginAllowed, Address: hub.Address, Messages: limits.Rate, Burst: limits.Burst,
	}
	socket := textsocket.Options{
		Origin: hub.OriginAllowed, Address: hub.Address, Messages: limits.Rate, Burst: limits.Burst,
		MaxMessage: limits.MessageBytes,
	}
	if on.P2P || on.Pair || on.Call || on.Chat || on.Easyrtc {
		o := socketio.Options{Engine: channel, Open: c.Signaling.Auth == config.AuthNone, Metrics: metrics}
		o.Off = switchedOff(map[string]bool{
			"p2p": on.P2P, "pair": on.Pair, "call": on.Call, "chat": on.Chat, "easyrtc": on.Easyrtc,
		})
		if on.IPAddr {
			o.Addresses = localAddresses
		}
		d.socketio, d.shim = socketio.New(hub, o), on.P2P
	}
	if on.JSON || on.YWebRTC {
		d.plain = jsonws.New(hub, jsonws.Options{
			Socket: socket, NoLogin: !on.JSON, NoTopics: !on.YWebRTC, Metrics: metrics,
		})
	}
	if on.PeerJS {
		d.peers = peerjs.New(hub, peerjs.Options{Socket: socket, Discovery: on.PeerJSDiscovery, Metrics: metrics})
	}
	return d, nil
}

func switchedOff(vocabularies map[string]bool) (off []string) {
	for name, on := range vocabularies {
		if !on {
			off = append(off, name)
		}
	}
	return off
}

// localAddresses are those of this machine's interfaces.
func localAddresses() (out []netip.Addr) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok {
			if ip, ok := netip.AddrFromSlice(n.IP); ok {
				out = append(out, ip.Unmap())
			}
		}
	}
	return out
}

// route adds the doors' paths. Those of PeerJS begin with a key, that is with anything,
// and what nobody else wants is the pages'.
func (d *dialects) route(mux *http.ServeMux, pages http.Handler) {
	if d.socketio != nil {
		gateway := d.scripts.inFront("socket.io", d.socketio)
		mux.Handle("/socket.io", gateway) // or it would be redirected, and a POST become a GET
		mux.Handle("/socket.io/", gateway)
		mux.Handle("/easyrtc/", d.scripts.inFront("easyrtc", http.NotFoundHandler()))
	}
	if d.shim {
		mux.HandleFunc("GET /legacy-shim.js", socketio.ServeShim)
	}
	if d.plain != nil {
		mux.Handle("/json", d.plain)
		mux.Handle("/json/", d.plain)
	}
	mux.HandleFunc("/{$}", func(w http.ResponseWriter, r *http.Request) {
		switch {
		case !websocket.IsWebSocketUpgrade(r):
			pages.ServeHTTP(w, r)
		case d.plain != nil:
			d.plain.ServeHTTP(w, r)
		default:
			http.NotFound(w, r)
		}
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if d.peers != nil && d.peers.Owns(r.URL.Path) {
			d.peers.ServeHTTP(w, r)
			return
		}
		pages.ServeHTTP(w, r)
	})
}

// Drain has the hub say goodbye to everybody; soon after, those go who are members of
// nothing and did not hear it.
func (d *dialects) Drain(retry time.Duration) {
	d.hub.Drain(retry)
	time.AfterFunc(retry, d.leave)
}

// Run serves until ctx is done, or nobody is let in any more; it returns when ctx is
// done and all connections are closed.
func (d *dialects) Run(ctx context.Context) error {
	open, end := context.WithCancel(ctx)
	defer end()
	group, open := errgroup.WithContext(open)
	serve := func(run func(context.Context) error) {
		group.Go(func() error { return contain(func() error { return run(open) }) })
	}
	if d.socketio != nil {
		serve(d.socketio.Run)
	}
	if d.plain != nil {
		serve(d.plain.Run)
	}
	if d.peers != nil {
		serve(d.peers.Run)
	}
	select {
	case <-open.Done():
	case <-d.gone:
		end()
	}
	if err := group.Wait(); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// runHub runs the hub and its dialects, which end before it: their sessions are its own.
func (a *app) runHub(ctx context.Context) error {
	ctx, endDialects := context.WithCancel(ctx)
	group, both := errgroup.WithContext(context.WithoutCancel(ctx))
	alive, endHub := context.WithCancel(both)
	// The group owns both; the dialects end with ctx or when the hub fails, the hub with them.
	group.Go(func() error {
		defer endDialects()
		return contain(func() error { return a.hub.Run(alive) })
	})
	group.Go(func() error {
		defer endHub()
		return contain(func() error { return a.dialects.Run(ctx) })
	})
	return group.Wait()
}
