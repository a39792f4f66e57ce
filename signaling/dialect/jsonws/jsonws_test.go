package jsonws

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/gorilla/websocket"

	"rtcd/internal/leak"
	"rtcd/signaling"
	"rtcd/signaling/dialect/textsocket"
)

func TestMain(m *testing.M) { leak.Main(m, "rtcd/signaling") }

// world is a running server on a real socket.
type world struct {
	t   testing.TB
	hub *signaling.Hub
	url string
}

func newWorld(t testing.TB, o Options) *world {
	t.Helper()
	hub, err := signaling.New(signaling.Options{Open: true})
	if err != nil {
		t.Fatal(err)
	}
	s := New(hub, o)
	run(t, hub.Run)
	run(t, s.Run) // ends before the hub
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	return &world{t, hub, "ws" + strings.TrimPrefix(server.URL, "http") + "/json"}
}

func run(t testing.TB, service func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- service(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// peer is one WebSocket of a test.
type peer struct {
	t    testing.TB
	conn *websocket.Conn
}

// open connects and hears the hello.
func (w *world) open() *peer {
	w.t.Helper()
	conn, _, err := websocket.DefaultDialer.Dial(w.url, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { conn.Close() })
	p := &peer{w.t, conn}
	p.want(`"type":"hello"`)
	return p
}

func (w *world) login(name string) *peer {
	w.t.Helper()
	p := w.open()
	p.say(fmt.Sprintf(`{"type":"login","name":%q}`, name))
	p.want(`"success":true`)
	return p
}

func (p *peer) say(frame string) {
	if err := p.conn.WriteMessage(websocket.TextMessage, []byte(frame)); err != nil {
		p.t.Fatal(err)
	}
}

func (p *peer) want(text string) {
	p.t.Helper()
	_, data, err := p.conn.ReadMessage()
	if err != nil || !strings.Contains(string(data), text) {
		p.t.Fatalf("heard %s %v, want %s", data, err, text)
	}
}

func (p *peer) wantClosed(code int) {
	p.t.Helper()
	for {
		_, _, err := p.conn.ReadMessage()
		if err == nil {
			continue
		}
		if !websocket.IsCloseError(err, code) {
			p.t.Fatalf("closed by %v, want %d", err, code)
		}
		return
	}
}

func (w *world) wantMembers(n int, why string) {
	w.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		members := w.hub.Members()
		if len(members) == n {
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("%s: members %v, want %d", why, members, n)
		}
	}
}

func TestMembersOfTheHub(t *testing.T) {
	w := newWorld(t, Options{})
	a, b := w.login("alice"), w.login("bob")
	w.wantMembers(2, "both are logged in")
	b.say(`{"type":"subscribe","topics":["t"]}`)
	w.wantMembers(3, "topics are another tenant")
	for _, m := range w.hub.Members() {
		if m.User == "alice" && !w.hub.Kick(m.Peer, "go") {
			t.Error("the hub does not know alice")
		}
	}
	a.wantClosed(signaling.CloseForbidden)
	b.conn.Close()
	w.wantMembers(0, "all have left")
}

func TestASlowMemberHarmsNobodyElse(t *testing.T) {
	w := newWorld(t, Options{Socket: textsocket.Options{
		Messages: 1e6, Burst: 1e6, Bytes: 1e9, WriteTimeout: 200 * time.Millisecond,
	}})
	a, b := w.login("alice"), w.login("bob")
	w.login("slow") // reads no more
	big := strings.Repeat("x", 30<<10)
	for i := range 1000 {
		a.say(fmt.Sprintf(`{"type":"candidate","name":"slow","candidate":"%s"}`, big))
		a.say(fmt.Sprintf(`{"type":"candidate","name":"bob","candidate":%d}`, i))
		b.want(fmt.Sprintf(`"candidate":%d`, i))
		if len(w.hub.Members()) == 2 {
			return
		}
	}
	w.wantMembers(2, "one who reads nothing is put out")
}

func TestLimits(t *testing.T) {
	w := newWorld(t, Options{Socket: textsocket.Options{MaxMessage: 100}})
	a := w.login("alice")
	a.say(strings.Repeat("x", 101))
	a.wantClosed(websocket.CloseMessageTooBig)
	w.wantMembers(0, "it broke the rules")

	pongs := newWorld(t, Options{Socket: textsocket.Options{Messages: 1e6, Burst: 1e6, DeadAfter: 300 * time.Millisecond}})
	silent := pongs.login("silent")
	for {
		if _, _, err := silent.conn.ReadMessage(); err != nil {
			break
		}
	}
	pongs.wantMembers(0, "it was silent")
}

func TestTheEndClosesWith1001(t *testing.T) {
	hub, err := signaling.New(signaling.Options{Open: true})
	if err != nil {
		t.Fatal(err)
	}
	run(t, hub.Run)
	s := New(hub, Options{})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	server := httptest.NewServer(s)
	defer server.Close()
	w := &world{t, hub, "ws" + strings.TrimPrefix(server.URL, "http")}
	a := w.login("alice")
	cancel()
	a.wantClosed(websocket.CloseGoingAway)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestEitherKindOfClientCanBeLeftOut(t *testing.T) {
	w := newWorld(t, Options{NoTopics: true})
	p := w.login("alice")
	p.say(`{"type":"ping"}`)
	p.want(`"Command not found: ping"`)

	w = newWorld(t, Options{NoLogin: true})
	conn, _, err := websocket.DefaultDialer.Dial(w.url, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	p = &peer{t, conn}
	p.say(`{"type":"login","name":"alice"}`)
	p.say(`{"type":"ping"}`)
	p.want(`{"type":"pong"}`) // no hello, no success
}

// FuzzParse: whatever somebody sends, what others hear is JSON.
func FuzzParse(f *testing.F) {
	for _, frame := range []string{
		`{"type":"login","name":"a"}`, `{"type":"offer","name":"b","offer":{"sdp":"x"}}`, `{"type":"leave","name":"b"}`,
		`{"type":"subscribe","topics":["t"]}`, `null`,
	} {
		f.Add([]byte(frame))
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		verb, m := parse(frame)
		heard := [][]byte{wordError(verb)}
		if data, there := m[verb]; there {
			heard = append(heard, wordSignal(verb, data, "x"))
		}
		for _, h := range heard {
			if !utf8.Valid(h) || !json.Valid(h) {
				t.Fatalf("after %q others hear %q", frame, h)
			}
		}
	})
}

// Who is put out cannot say goodbye: the hub does, once.
func TestThePartnerOfTheKickedHearsLeave(t *testing.T) {
	w := newWorld(t, Options{})
	ann, bob := w.login("ann"), w.login("bob")
	ann.say(`{"type":"offer","name":"bob","offer":{}}`)
	bob.want(`"type":"offer"`)
	bob.say(`{"type":"answer","name":"ann","answer":{}}`)
	ann.want(`"type":"answer"`)
	for _, m := range w.hub.Members() {
		if m.User == "ann" {
			w.hub.Kick(m.Peer, "")
		}
	}
	bob.want(`{"type":"leave"}`)
	bob.say(`{"type":"offer","name":"ann","offer":{}}`) // its answer comes next
	bob.want("User not found: ann")
}

// TestPanicsAreTheHubs: who serves the sockets counts their panics.
func TestPanicsAreTheHubs(t *testing.T) {
	hub, err := signaling.New(signaling.Options{Open: true})
	if err != nil {
		t.Fatal(err)
	}
	ended := false
	func() {
		defer New(hub, Options{}).o.Socket.Guard(func() { ended = true })
		panic("planted")
	}()
	if !ended {
		t.Error("the socket goes on")
	}
}
