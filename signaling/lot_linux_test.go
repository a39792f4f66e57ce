package signaling

import (
	"context"
	"crypto/tls"
	"net"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// unpinged is a hub whose pings wake nobody during a test.
var unpinged = Options{PingEvery: time.Hour, DeadAfter: 3 * time.Hour}

// eachWire runs f over TCP and over TLS, with a hub that parks its sockets soon.
func eachWire(t *testing.T, o Options, f func(t *testing.T, w *world)) {
	o.idleAfter = 20 * time.Millisecond
	t.Run("TCP", func(t *testing.T) { f(t, newWorld(t, o)) })
	t.Run("TLS", func(t *testing.T) {
		hub := runHub(t, o)
		server := httptest.NewTLSServer(hub)
		t.Cleanup(server.Close)
		dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
			return (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}).DialContext(ctx, network, addr)
		}
		// The client's library is told of a plain server, and dials TLS itself.
		f(t, &world{t: t, hub: hub, url: "ws" + strings.TrimPrefix(server.URL, "https") + "/ws", dial: dial})
	})
}

// wantParked waits until n sockets are parked.
func (w *world) wantParked(n int) {
	w.t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		w.hub.lot.mu.Lock()
		got := len(w.hub.lot.parked)
		w.hub.lot.mu.Unlock()
		if got == n {
			return
		}
		if time.Now().After(end) {
			w.t.Fatalf("%d sockets are parked, want %d", got, n)
		}
	}
}

// TestIdleSocketsAreParked: who is parked hears, speaks and ends as everybody does.
func TestIdleSocketsAreParked(t *testing.T) {
	eachWire(t, unpinged, func(t *testing.T, w *world) {
		ann, _ := w.enter("ann", `{"type":"hello","room":"r"}`)
		bob, welcome := w.enter("bob", `{"type":"hello","room":"r"}`)
		ann.want(`{"event":"join"}`)
		for range 3 {
			w.wantParked(2)
			ann.say(`{"type":"message","to":"#r","data":"hi"}`)
			bob.want(`{"type":"message","data":"hi"}`)
			bob.say(`{"type":"message","to":"#r","data":"ho"}`)
			ann.want(`{"type":"message","data":"ho"}`)
		}
		w.wantParked(2)
		cat, _ := w.enter("cat", `{"type":"hello","room":"r"}`)
		ann.want(`{"event":"join"}`)
		bob.want(`{"event":"join"}`)
		w.wantParked(3)
		cat.cut()
		ann.want(`{"event":"away"}`)
		bob.want(`{"event":"away"}`)
		w.wantParked(2)
		w.hub.Kick(welcome.str("peer"), "")
		bob.wantClosed(CloseForbidden)
		ann.want(`{"event":"leave"}`)
		w.wantParked(1)
		w.hub.Drain(0)
		ann.want(`{"type":"going"}`)
		ann.wantClosed(CloseGoing)
	})
}

// TestALotThatGivesUp: who was parked goes on, and nobody is parked any more.
func TestALotThatGivesUp(t *testing.T) {
	eachWire(t, unpinged, func(t *testing.T, w *world) {
		ann, _ := w.enter("ann", `{"type":"hello","room":"r"}`)
		bob, _ := w.enter("bob", `{"type":"hello","room":"r"}`)
		ann.want(`{"event":"join"}`)
		w.wantParked(2)
		w.hub.lot.giveUp()
		for range 2 {
			w.wantParked(0)
			time.Sleep(60 * time.Millisecond) // to pass idleAfter; if it does not, the test is easier
			ann.say(`{"type":"message","to":"#r","data":"hi"}`)
			bob.want(`{"type":"message","data":"hi"}`)
			bob.say(`{"type":"message","to":"#r","data":"ho"}`)
			ann.want(`{"type":"message","data":"ho"}`)
		}
		w.wantParked(0)
	})
}

// TestWhatFollowsHelloIsRead: nobody parks on frames that came with hello.
func TestWhatFollowsHelloIsRead(t *testing.T) {
	eachWire(t, unpinged, func(t *testing.T, w *world) {
		c := w.open("c", nil)
		var all []byte
		for _, text := range []string{`{"type":"hello","room":"r"}`, `{"type":"ping","id":1}`, `{"type":"ping","id":2}`} {
			all = append(all, 0x80|websocket.TextMessage, 0x80|byte(len(text)), 0, 0, 0, 0)
			all = append(all, text...)
		}
		c.conn.NetConn().Write(all)
		c.want(`{"type":"welcome"}`)
		c.want(`{"type":"pong","re":1}`)
		c.want(`{"type":"pong","re":2}`)
		w.wantParked(1)
	})
}

// TestAMessageMayComeSlowly: only silence between messages parks a socket, and no
// pause within one ends it.
func TestAMessageMayComeSlowly(t *testing.T) {
	eachWire(t, unpinged, func(t *testing.T, w *world) {
		c, _ := w.enter("c", `{"type":"hello","room":"r"}`)
		w.wantParked(1)
		const text = `{"type":"ping","id":7}`
		all := append([]byte{0x80 | websocket.TextMessage, 0x80 | byte(len(text)), 0, 0, 0, 0}, text...)
		for _, part := range [][]byte{all[:1], all[1:4], all[4:9], all[9:]} {
			c.conn.NetConn().Write(part)
			time.Sleep(60 * time.Millisecond) // to pass idleAfter; if it does not, the test is easier
		}
		c.want(`{"type":"pong","re":7}`)
		w.wantParked(1)
	})
}

// TestTheParkedAreMissed: pings wake sockets, answers let them be parked again, and
// silence ends them.
func TestTheParkedAreMissed(t *testing.T) {
	o := Options{PingEvery: 300 * time.Millisecond, DeadAfter: 30 * time.Second}
	eachWire(t, o, func(t *testing.T, w *world) {
		c, _ := w.enter("c", `{"type":"hello","room":"r"}`)
		pings := make(chan struct{}, 100)
		answer := c.conn.PingHandler()
		c.conn.SetPingHandler(func(data string) error {
			pings <- struct{}{}
			return answer(data)
		})
		go c.conn.ReadMessage()
		for range 3 {
			<-pings
		}
		w.wantParked(1)
	})
	o.DeadAfter = 3 * time.Second
	eachWire(t, o, func(t *testing.T, w *world) {
		watcher, _ := w.enter("watcher", `{"type":"hello","room":"r"}`)
		w.enter("mute", `{"type":"hello","room":"r"}`) // and reads no more: no pongs
		watcher.want(`{"event":"join"}`)
		watcher.want(`{"event":"away"}`)
	})
}
