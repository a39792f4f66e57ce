package signaling

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"rtcd/creds"
	"rtcd/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m, "rtcd/signaling") }

// tokens is an Auth whose tokens are the keys of a map.
type tokens map[string]creds.Claims

func (t tokens) Verify(token string, now time.Time) (creds.Claims, error) {
	c, found := t[token]
	if !found {
		return c, errors.New("forged")
	}
	if !now.Before(c.Expires) {
		return c, errors.New("expired")
	}
	return c, nil
}

var never = time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)

// mint is an ICE that counts.
type mint struct {
	ttl time.Duration

	mu      sync.Mutex
	minted  []string
	revoked []string
}

func (m *mint) Mint(member string) ICEServers {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.minted = append(m.minted, member)
	n := len(m.minted)
	return ICEServers{TTL: m.ttl, Servers: []ICEServer{{
		URLs:     []string{"turn:rtc.example.com:3478"},
		Username: fmt.Sprintf("%d:%s", n, member), Credential: fmt.Sprintf("password %d", n),
	}}}
}

func (m *mint) Revoke(member string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.revoked = append(m.revoked, member)
}

func (m *mint) counts() (minted, revoked int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.minted), len(m.revoked)
}

// world is a running hub behind an HTTP server.
type world struct {
	t    *testing.T
	hub  *Hub
	url  string
	dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// newWorld serves a hub on a real socket.
func newWorld(t *testing.T, o Options) *world {
	t.Helper()
	hub := runHub(t, o)
	server := httptest.NewServer(hub)
	t.Cleanup(server.Close)
	return &world{t: t, hub: hub, url: "ws" + strings.TrimPrefix(server.URL, "http") + "/ws"}
}

func runHub(t *testing.T, o Options) *Hub {
	t.Helper()
	if o.Auth == nil {
		o.Open = true
	}
	hub, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- hub.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return hub
}

// newPipeWorld serves a hub on an in-memory network, on which synctest can block.
func newPipeWorld(t *testing.T, o Options) *world {
	t.Helper()
	hub := runHub(t, o)
	l := &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
	server := &http.Server{Handler: hub}
	done := make(chan struct{})
	go func() {
		defer close(done)
		server.Serve(l)
	}()
	t.Cleanup(func() {
		server.Close()
		<-done
	})
	return &world{t: t, hub: hub, url: "ws://hub/ws", dial: l.dial}
}

type pipeListener struct {
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func (l *pipeListener) dial(context.Context, string, string) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case l.conns <- there:
		return here, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

// client is one WebSocket of a test.
type client struct {
	t    *testing.T
	name string
	conn *websocket.Conn
}

// open connects a client; header may be nil.
func (w *world) open(name string, header http.Header) *client {
	w.t.Helper()
	c, res, err := w.tryOpen(name, header)
	if err != nil {
		status := ""
		if res != nil {
			status = res.Status
		}
		w.t.Fatalf("%s: %v %s", name, err, status)
	}
	return c
}

func (w *world) tryOpen(name string, header http.Header) (*client, *http.Response, error) {
	d := websocket.Dialer{NetDialContext: w.dial, Subprotocols: []string{Subprotocol}}
	if header.Get("Sec-Websocket-Protocol") != "" {
		d.Subprotocols = nil
	}
	conn, res, err := d.Dial(w.url, header)
	if err != nil {
		return nil, res, err
	}
	w.t.Cleanup(func() { conn.Close() })
	return &client{t: w.t, name: name, conn: conn}, res, nil
}

// enter connects and says hello, and returns the welcome too.
func (w *world) enter(name, hello string) (*client, frame) {
	w.t.Helper()
	c := w.open(name, nil)
	c.say("%s", hello)
	welcome := c.hear()
	if welcome["type"] != TypeWelcome {
		w.t.Fatalf("%s: not a welcome: %v", name, welcome)
	}
	return c, welcome
}

// frame is a received message.
type frame map[string]any

func (f frame) str(key string) string { s, _ := f[key].(string); return s }

// say sends one frame; args fill in its %s and %d.
func (c *client) say(format string, args ...any) {
	c.t.Helper()
	text := format
	if len(args) > 0 {
		text = fmt.Sprintf(format, args...)
	}
	c.conn.SetWriteDeadline(time.Now().Add(time.Minute))
	if err := c.conn.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
		c.t.Fatalf("%s says %.200s: %v", c.name, text, err)
	}
}

// hear returns the next frame.
func (c *client) hear() frame {
	c.t.Helper()
	f, err := c.tryHear()
	if err != nil {
		c.t.Fatalf("%s hears nothing: %v", c.name, err)
	}
	return f
}

func (c *client) tryHear() (frame, error) {
	c.conn.SetReadDeadline(time.Now().Add(time.Minute))
	_, data, err := c.conn.ReadMessage()
	if err != nil {
		return nil, err
	}
	var f frame
	d := json.NewDecoder(bytes.NewReader(data))
	if err := d.Decode(&f); err != nil {
		return nil, fmt.Errorf("%s: %w", data, err)
	}
	return f, nil
}

// want hears a frame in which the given keys have the given values (JSON).
func (c *client) want(pattern string, args ...any) frame {
	c.t.Helper()
	got := c.hear()
	var want frame
	text := pattern
	if len(args) > 0 {
		text = fmt.Sprintf(pattern, args...)
	}
	if err := json.Unmarshal([]byte(text), &want); err != nil {
		c.t.Fatalf("pattern %s: %v", text, err)
	}
	for k, v := range want {
		if fmt.Sprint(got[k]) != fmt.Sprint(v) {
			c.t.Fatalf("%s hears %v, want %s", c.name, got, text)
		}
	}
	return got
}

// wantSilence asks for a pong and wants nothing before it.
func (c *client) wantSilence(why string) {
	c.t.Helper()
	c.say(`{"type":"ping","id":"silence"}`)
	if f := c.hear(); f["type"] != TypePong {
		c.t.Fatalf("%s: %s hears %v", why, c.name, f)
	}
}

// wantClosed reads on until the socket is closed, and compares the code.
func (c *client) wantClosed(code int) {
	c.t.Helper()
	for {
		_, err := c.tryHear()
		if err == nil {
			continue
		}
		var closed *websocket.CloseError
		if !errors.As(err, &closed) || closed.Code != code {
			c.t.Fatalf("%s: closed with %v, want %d", c.name, err, code)
		}
		return
	}
}

// cut loses the socket without a word.
func (c *client) cut() { c.conn.NetConn().Close() }
