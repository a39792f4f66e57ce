package textsocket

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"rtcd/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m, "rtcd/signaling") }

// bomb is a handler that says what it hears, and panics where it is told to.
type bomb struct {
	socket *Socket
	where  string
}

func (b *bomb) Opened(s *Socket) {
	b.socket = s
	b.at("opened")
}

func (b *bomb) Receive(frame []byte) {
	b.at(string(frame))
	b.socket.Post(frame)
}

func (b *bomb) Closed() { b.at("closed") }

func (b *bomb) at(where string) {
	if b.where == where {
		panic("planted")
	}
}

// TestAPanicEndsOneSocket: wherever it is, another one goes on.
func TestAPanicEndsOneSocket(t *testing.T) {
	var caught atomic.Int32
	s := New(Options{Guard: func(end func()) {
		if recover() != nil {
			caught.Add(1)
			end()
		}
	}})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.Serve(w, r, &bomb{where: r.URL.RawQuery})
	}))
	defer server.Close()
	open := func(where string) *websocket.Conn {
		ws, _, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(server.URL, "http")+"/?"+where, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { ws.Close() })
		return ws
	}
	other := open("nowhere")
	for i, where := range []string{"opened", "said", "closed"} {
		ws := open(where)
		ws.WriteMessage(websocket.TextMessage, []byte("said"))
		ws.WriteMessage(websocket.CloseMessage, nil)
		for end := time.Now().Add(time.Minute); int(caught.Load()) != i+1 || s.Len() != 1; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%s: %d panics are caught, %d sockets are left; want %d and 1", where, caught.Load(), s.Len(), i+1)
			}
		}
		if err := other.WriteMessage(websocket.TextMessage, []byte("hello")); err != nil {
			t.Fatal(err)
		}
		if _, b, err := other.ReadMessage(); err != nil || string(b) != "hello" {
			t.Fatalf("%q %v", b, err)
		}
	}
	go other.ReadMessage() // answers the close; ends with the socket
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
