package pulse

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/pion/stun/v3"

	"rtcd/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m, "rtcd/internal/pulse") }

// listener answers those Bindings on UDP that answers wants.
func listener(t *testing.T, answers func(from net.Addr) bool) netip.AddrPort {
	t.Helper()
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	t.Cleanup(func() { conn.Close(); <-ended })
	// The test owns it; closing the socket ends it.
	go func() {
		defer close(ended)
		buf := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			request := stun.Message{Raw: buf[:n]}
			if request.Decode() != nil || !answers(from) {
				continue
			}
			conn.WriteTo([]byte("not an answer"), from)
			conn.WriteTo(stun.MustBuild(stun.NewTransactionIDSetter(request.TransactionID), stun.BindingSuccess).Raw, from)
		}
	}()
	return netip.MustParseAddrPort(conn.LocalAddr().String())
}

func soon(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

const (
	patient   = 30 * time.Second       // for what must be answered
	impatient = 600 * time.Millisecond // for what never will be
)

func TestBinding(t *testing.T) {
	if err := Binding(soon(t, patient), "udp", listener(t, func(net.Addr) bool { return true }), 8, nil); err != nil {
		t.Errorf("of a server that answers: %v", err)
	}
	var asked atomic.Int64
	second := listener(t, func(net.Addr) bool { return asked.Add(1) > 1 })
	if err := Binding(soon(t, patient), "udp", second, 1, nil); err != nil {
		t.Errorf("of a server that lost one packet: %v", err)
	}
	wantSilence := func(what string, err error) {
		t.Helper()
		var unable Unable
		if err == nil || errors.As(err, &unable) {
			t.Errorf("of %s: %v; want a failure", what, err)
		}
	}
	wantSilence("a wedged server", Binding(soon(t, impatient), "udp", listener(t, func(net.Addr) bool { return false }), 1, nil))
	// One of its sockets is wedged: one client of eight is never answered.
	var wedged atomic.Value
	partly := listener(t, func(from net.Addr) bool {
		wedged.CompareAndSwap(nil, from.String())
		return from.String() != wedged.Load()
	})
	wantSilence("a server with one wedged socket", Binding(soon(t, impatient), "udp", partly, 8, nil))
	for _, network := range []string{"udp", "tcp"} {
		l, err := net.Listen("tcp4", "127.0.0.1:0") // a port that is free for a moment
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		err = Binding(soon(t, patient), network, netip.MustParseAddrPort(l.Addr().String()), 2, nil)
		wantSilence("a closed port of "+network, err)
		if err != nil && !strings.Contains(err.Error(), "the port is closed") {
			t.Errorf("%s: %v", network, err)
		}
	}
}

// What this machine cannot do says nothing about the server.
func TestUnable(t *testing.T) {
	var unable Unable
	nowhere := netip.MustParseAddrPort("127.0.0.1:0")
	if err := Binding(soon(t, patient), "no such network", nowhere, 2, nil); !errors.As(err, &unable) {
		t.Errorf("%v; want Unable", err)
	}
}

func TestWildcardsAreAskedOnLoopback(t *testing.T) {
	for in, want := range map[string]string{
		"0.0.0.0:3478": "127.0.0.1:3478", "[::]:443": "[::1]:443", "192.0.2.1:1": "192.0.2.1:1",
	} {
		if got := here(netip.MustParseAddrPort(in)).String(); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

// site serves a handler until the end of the test.
func site(t *testing.T, secure bool, h http.HandlerFunc) Site {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	if secure {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return Site{Addr: netip.MustParseAddrPort(s.Listener.Addr().String()), TLS: secure}
}

// upgrade makes a WebSocket, and answers pings if read. Otherwise it waits for the other
// end to go.
func upgrade(read bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		up := websocket.Upgrader{Subprotocols: []string{"rtcd.v1"}}
		conn, err := up.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer conn.Close()
		if !read {
			conn.NetConn().Read(make([]byte, 64)) // the ping
			conn.NetConn().Read(make([]byte, 64))
			return
		}
		conn.ReadMessage()
	}
}

func TestWebSocket(t *testing.T) {
	for name, c := range map[string]struct {
		secure bool
		serve  http.HandlerFunc
		alive  bool
	}{
		"a hub":          {false, upgrade(true), true},
		"a hub with TLS": {true, upgrade(true), true},
		"a full hub":     {false, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "full", http.StatusServiceUnavailable) }, true},
		"a redirect": {false, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://rtc.example.com/", http.StatusPermanentRedirect)
		}, true},
		"a wedged reader":     {false, upgrade(false), false},
		"a wedged web server": {false, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, false},
	} {
		t.Run(name, func(t *testing.T) {
			limit := patient
			if !c.alive {
				limit = impatient
			}
			err := WebSocket(soon(t, limit), site(t, c.secure, c.serve), "/ws", "rtcd.v1")
			var unable Unable
			if errors.As(err, &unable) || (err == nil) != c.alive {
				t.Errorf("%v; alive is %v", err, c.alive)
			}
		})
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := netip.MustParseAddrPort(l.Addr().String())
	// It accepts, and is too full to say so.
	ended := make(chan struct{})
	// The test owns it; closing the listener ends it.
	go func() {
		defer close(ended)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	var unable Unable
	if err := WebSocket(soon(t, patient), Site{Addr: at}, "/ws", "rtcd.v1"); !errors.As(err, &unable) {
		t.Errorf("of a server that turns away: %v, want Unable", err)
	}
	l.Close()
	<-ended
	if err := WebSocket(soon(t, patient), Site{Addr: at}, "/ws", "rtcd.v1"); err == nil || errors.As(err, &unable) {
		t.Errorf("of a closed port: %v", err)
	}
}
