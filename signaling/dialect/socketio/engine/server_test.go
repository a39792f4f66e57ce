package engine

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"rtcd/internal/leak"
	"rtcd/signaling/dialect/bounds"
)

func TestMain(m *testing.M) { leak.Main(m, "rtcd/signaling") }

// ear is a Handler that remembers.
type ear struct {
	mu     sync.Mutex
	conn   *Conn
	heard  []string
	closed int
}

func (e *ear) Opened(c *Conn) { e.conn = c }

func (e *ear) Receive(data []byte, _ bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.heard = append(e.heard, string(data))
}

func (e *ear) Closed() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed++
}

func (e *ear) ended() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.closed == 1
}

func (e *ear) count() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.heard)
}

// world is a running server, spoken to without sockets.
type world struct {
	t    *testing.T
	s    *Server
	last *ear
}

func newWorld(t *testing.T, o Options) *world {
	t.Helper()
	w := &world{t: t}
	if o.Accept == nil {
		o.Accept = func(*http.Request) (Handler, error) {
			w.last = &ear{}
			return w.last, nil
		}
	}
	w.s = New(o)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- w.s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return w
}

// ask sends one request and returns the answer.
func (w *world) ask(method, query, body string, change func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "/socket.io/?"+query, strings.NewReader(body))
	if change != nil {
		change(r)
	}
	rec := httptest.NewRecorder()
	w.s.ServeHTTP(rec, r)
	return rec
}

// client opens a polling connection of revision 4.
func (w *world) client() *poller {
	w.t.Helper()
	rec := w.ask("GET", "EIO=4&transport=polling", "", nil)
	if rec.Code != 200 || !strings.HasPrefix(rec.Body.String(), `0{"sid":"`) {
		w.t.Fatalf("the handshake is answered by %d %s", rec.Code, rec.Body)
	}
	return &poller{w, w.last, "EIO=4&transport=polling&sid=" + w.last.conn.ID()}
}

// poller is a polling client.
type poller struct {
	*world
	ear   *ear
	query string
}

func (p *poller) want(what, method, body string, code int, text string) {
	p.t.Helper()
	rec := p.ask(method, p.query, body, nil)
	if rec.Code != code || !strings.Contains(rec.Body.String(), text) {
		p.t.Errorf("%s: %d %q, want %d %q", what, rec.Code, rec.Body, code, text)
	}
}

func TestRefusals(t *testing.T) {
	w := newWorld(t, Options{
		Accept: func(r *http.Request) (Handler, error) {
			if r.URL.Query().Get("token") == "" {
				return nil, errors.New("no token")
			}
			return &ear{}, nil
		},
		Origin: func(r *http.Request) bool { return r.Header.Get("Origin") != "https://evil.example" },
	})
	evil := func(r *http.Request) { r.Header.Set("Origin", "https://evil.example") }
	for _, test := range []struct {
		what, method, query string
		change              func(*http.Request)
		code                int
		body                string
	}{
		{"no transport", "GET", "EIO=4", nil, 400, `{"code":0,"message":"Transport unknown"}`},
		{"a WebSocket that is none", "GET", "EIO=4&transport=websocket", nil, 400, `{"code":0,`},
		{"an unknown sid", "GET", "EIO=4&transport=polling&sid=x", nil, 400, `{"code":1,"message":"Session ID unknown"}`},
		{"a POST without sid", "POST", "EIO=4&transport=polling", nil, 400, `{"code":2,"message":"Bad handshake method"}`},
		{"revision 5", "GET", "EIO=5&transport=polling", nil, 400, `{"code":5,"message":"Unsupported protocol version"}`},
		{"a foreign page", "GET", "EIO=4&transport=polling&token=x", evil, 403, `{"code":4,"message":"Forbidden"}`},
		{"no token", "GET", "EIO=4&transport=polling", nil, 403, `{"code":4,"message":"no token"}`},
		{"a preflight", "OPTIONS", "EIO=4&transport=polling", nil, 204, ``},
	} {
		rec := w.ask(test.method, test.query, "", test.change)
		if rec.Code != test.code || !strings.HasPrefix(rec.Body.String(), test.body) {
			t.Errorf("%s: %d %s, want %d %s", test.what, rec.Code, rec.Body, test.code, test.body)
		}
	}
}

func TestCORS(t *testing.T) {
	w := newWorld(t, Options{})
	page := func(r *http.Request) {
		r.Header.Set("Origin", "https://page.example")
		r.Header.Set("Access-Control-Request-Headers", "content-type")
	}
	for _, method := range []string{"GET", "OPTIONS", "HEAD", "POST"} {
		h := w.ask(method, "EIO=4&transport=polling", "", page).Header()
		if h.Get("Access-Control-Allow-Origin") != "https://page.example" || h.Get("Access-Control-Allow-Credentials") != "true" {
			t.Errorf("%s: %v", method, h)
		}
		if method == "OPTIONS" && h.Get("Access-Control-Allow-Headers") != "content-type" {
			t.Errorf("preflight: %v", h)
		}
	}
}

func TestPollingConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{})
		p := w.client()
		p.ear.conn.Send(Text([]byte("one")), Binary([]byte{1, 2, 3}))
		p.want("a GET", "GET", "", 200, "4one\x1ebAQID")
		p.want("a POST", "POST", "4hello\x1ebAQID", 200, "ok")
		if p.ear.count() != 2 || p.ear.heard[0] != "hello" || p.ear.heard[1] != "\x01\x02\x03" {
			t.Errorf("heard %q", p.ear.heard)
		}
		for range 10 {
			p.want("a GET until the ping", "GET", "", 200, "2")
			p.want("a pong", "POST", "3", 200, "ok")
		}
		p.ear.conn.Send(Text([]byte("goodbye")))
		p.ear.conn.Close()
		if rec := p.ask("GET", p.query, "", nil); rec.Body.String() != "4goodbye" {
			t.Errorf("the last words come as %q, want them without the end", rec.Body)
		}
		p.want("the last GET", "GET", "", 200, "1")
		synctest.Wait()
		if !p.ear.ended() {
			t.Error("the handler has not heard of the end")
		}
		p.want("a GET after the end", "GET", "", 400, `"code":1`)
	})
}

func TestPollingConnectionExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{})
		p := w.client()
		time.Sleep(44 * time.Second)
		if p.ear.ended() || w.s.Len() != 1 {
			t.Error("ended too early")
		}
		time.Sleep(2 * time.Second)
		if !p.ear.ended() || w.s.Len() != 0 {
			t.Error("nobody polls, but the connection is still there")
		}
	})
}

func TestOneGetAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newWorld(t, Options{}).client()
		go p.want("the first GET", "GET", "", 200, "6")
		synctest.Wait()
		p.want("the second GET", "GET", "", 400, `"code":3`)
		synctest.Wait()
		if !p.ear.ended() {
			t.Error("two GETs at a time, and the connection lives")
		}
	})
}

func TestForeignClientWithTheSid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newWorld(t, Options{}).client()
		for what, change := range map[string]func(*http.Request){
			"another address": func(r *http.Request) { r.RemoteAddr = "192.0.2.99:1" },
			"another browser": func(r *http.Request) { r.Header.Set("User-Agent", "other") },
		} {
			if rec := p.ask("POST", p.query, "4forged", change); rec.Code != 400 {
				t.Errorf("%s: %d %s", what, rec.Code, rec.Body)
			}
		}
		if p.ear.count() != 0 || p.ear.ended() {
			t.Error("a stranger was heard, or ended the connection")
		}
	})
}

func TestBadPosts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{MaxPayload: 100})
		for body, code := range map[string]int{strings.Repeat("4", 101): 413, "9": 400, "": 400} {
			p := w.client()
			p.want("a bad POST", "POST", body, code, "")
			synctest.Wait()
			if !p.ear.ended() {
				t.Errorf("%.10q does not end the connection", body)
			}
		}
	})
}

func TestSendWaitsForASlowClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{})
		p := w.client()
		big := Text(make([]byte, 40<<10))
		sent := make(chan error, 3)
		go func() {
			for range 3 {
				sent <- p.ear.conn.Send(big)
			}
		}()
		synctest.Wait()
		if len(sent) != 2 {
			t.Errorf("%d of 40 KiB each are queued, the third should wait", len(sent))
		}
		go p.want("a GET", "GET", "", 200, "4")
		synctest.Wait()
		if len(sent) != 3 {
			t.Error("the queue was taken, but Send still waits")
		}
		for range 3 {
			<-sent
		}
		go func() {
			for range 2 {
				sent <- p.ear.conn.Send(big)
			}
		}()
		start := time.Now()
		if err := <-sent; err != nil {
			t.Error(err)
		}
		if err := <-sent; !errors.Is(err, bounds.ErrSlow) || time.Since(start) != 10*time.Second {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		synctest.Wait()
		if !p.ear.ended() {
			t.Error("a client that takes nothing is still connected")
		}
	})
}

func TestAFloodWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{})
		p, other := w.client(), w.client()
		start := time.Now()
		done := make(chan time.Duration)
		go func() {
			p.want("a flood", "POST", strings.Repeat("4x\x1e", 999)+"4x", 200, "ok")
			done <- time.Since(start)
		}()
		synctest.Wait()
		if n := p.ear.count(); n != 200 {
			t.Errorf("%d messages at once, want the burst of 200", n)
		}
		other.want("somebody else's POST", "POST", "4hello", 200, "ok")
		if other.ear.count() != 1 || time.Since(start) != 0 {
			t.Error("a flood delays somebody else")
		}
		if d := <-done; d.Round(time.Second) != 16*time.Second || p.ear.count() != 1000 {
			t.Errorf("%d messages in %v, want 1000 in 16 s", p.ear.count(), d)
		}
	})
}

func TestAskingWithoutReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{Burst: 1000})
		w.ask("GET", "EIO=3&transport=polling", "", nil)
		p := &poller{w, w.last, "EIO=3&transport=polling&sid=" + w.last.conn.ID()}
		p.want("pings", "POST", strings.Repeat("1:2", 300), 200, "ok")
		synctest.Wait()
		if !p.ear.ended() {
			t.Error("300 pongs wait for nobody")
		}
	})
}

func TestTooManyConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{Connections: 3, Handshakes: 1})
		for range 3 {
			w.client()
		}
		if rec := w.ask("GET", "EIO=4&transport=polling", "", nil); rec.Code != 503 {
			t.Errorf("a fourth of three: %d", rec.Code)
		}
		time.Sleep(time.Minute) // they have expired
		for range 10 {
			w.client().ear.conn.abort()
		}
		if rec := w.ask("GET", "EIO=4&transport=polling", "", nil); rec.Code != 503 {
			t.Errorf("an eleventh handshake at once: %d", rec.Code)
		}
		if rec := w.ask("GET", "EIO=4&transport=polling", "", func(r *http.Request) { r.RemoteAddr = "192.0.2.99:1" }); rec.Code != 200 {
			t.Errorf("another address: %d", rec.Code)
		}
	})
}

// dial opens a WebSocket on a real socket.
func (w *world) dial(query string) *websocket.Conn {
	w.t.Helper()
	server := httptest.NewServer(w.s)
	w.t.Cleanup(server.Close)
	ws, _, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(server.URL, "http")+"/socket.io/?transport=websocket&"+query, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { ws.Close() })
	return ws
}

func TestUpgradeThatNeverComes(t *testing.T) {
	w := newWorld(t, Options{UpgradeTimeout: 50 * time.Millisecond, Address: func(*http.Request) string { return "here" }})
	p := w.client()
	ws := w.dial("EIO=4&sid=" + p.ear.conn.ID())
	ws.WriteMessage(websocket.TextMessage, []byte("2probe"))
	if _, data, err := ws.ReadMessage(); err != nil || string(data) != "3probe" {
		t.Fatalf("%s %v", data, err)
	}
	p.want("a GET meanwhile", "GET", "", 200, "6")
	if _, _, err := ws.ReadMessage(); err == nil {
		t.Error("the WebSocket lives on")
	}
	p.ear.conn.Send(Text([]byte("later")))
	p.want("a GET after", "GET", "", 200, "4later")
}

func TestLastWordsFollowAnUpgrade(t *testing.T) {
	w := newWorld(t, Options{Address: func(*http.Request) string { return "here" }})
	p := w.client()
	ws := w.dial("EIO=4&sid=" + p.ear.conn.ID())
	ws.WriteMessage(websocket.TextMessage, []byte("2probe"))
	if _, data, err := ws.ReadMessage(); err != nil || string(data) != "3probe" {
		t.Fatalf("%s %v", data, err)
	}
	p.ear.conn.Send(Text([]byte("goodbye"))) // the client polls no more and has not said 5 yet
	p.ear.conn.Close()
	ws.WriteMessage(websocket.TextMessage, []byte("5"))
	if _, data, err := ws.ReadMessage(); err != nil || string(data) != "4goodbye" {
		t.Errorf("%s %v", data, err)
	}
	if _, _, err := ws.ReadMessage(); !websocket.IsCloseError(err, websocket.CloseNormalClosure) {
		t.Errorf("the end is %v", err)
	}
}

func TestWebSocketFrames(t *testing.T) {
	for what, frame := range map[string]struct {
		kind int
		data string
	}{
		"an empty frame":          {websocket.TextMessage, ""},
		"an unknown type":         {websocket.TextMessage, "9"},
		"binary of no message, 3": {websocket.BinaryMessage, "\x03x"},
		"a frame beyond limits":   {websocket.TextMessage, "4" + strings.Repeat("x", 200)},
		"a close packet":          {websocket.TextMessage, "1"},
	} {
		w := newWorld(t, Options{MaxPayload: 100})
		ws := w.dial("EIO=3")
		ws.WriteMessage(frame.kind, []byte(frame.data))
		for {
			if _, _, err := ws.ReadMessage(); err != nil {
				break
			}
		}
		for deadline := time.Now().Add(time.Minute); !w.last.ended(); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s does not end the connection", what)
			}
		}
	}
}

// bomb is a handler that panics where it is told to.
type bomb struct {
	ear
	where string
}

func (b *bomb) Opened(c *Conn) {
	b.ear.Opened(c)
	b.at("opened")
}

func (b *bomb) Receive(data []byte, binary bool) {
	b.at(string(data))
	b.ear.Receive(data, binary)
}

func (b *bomb) Closed() {
	b.ear.Closed()
	b.at("closed")
}

func (b *bomb) at(where string) {
	if b.where == where {
		panic("planted")
	}
}

// TestAPanicEndsOneConnection: wherever it is, and over every transport, another connection
// goes on.
func TestAPanicEndsOneConnection(t *testing.T) {
	for _, where := range []string{"said", "closed"} {
		for _, transport := range []string{"polling", "websocket", "upgraded"} {
			t.Run(where+", "+transport, func(t *testing.T) {
				var caught atomic.Int32
				var last *bomb
				next := ""
				w := newWorld(t, Options{
					Accept: func(*http.Request) (Handler, error) {
						last = &bomb{where: next}
						return last, nil
					},
					Address: func(*http.Request) string { return "here" },
					Guard: func(end func()) {
						if recover() != nil {
							caught.Add(1)
							end()
						}
					},
				})
				poll := func() *poller {
					if rec := w.ask("GET", "EIO=4&transport=polling", "", nil); rec.Code != 200 {
						t.Fatal(rec.Code)
					}
					return &poller{w, &last.ear, "EIO=4&transport=polling&sid=" + last.conn.ID()}
				}
				other := poll()
				next = where
				say := func(string) {}
				switch transport {
				case "polling":
					p := poll()
					say = func(s string) { p.ask("POST", p.query, s, nil) }
				case "websocket":
					ws := w.dial("EIO=4")
					say = func(s string) { ws.WriteMessage(websocket.TextMessage, []byte(s)) }
				case "upgraded":
					ws := w.dial("EIO=4&sid=" + poll().ear.conn.ID())
					say = func(s string) { ws.WriteMessage(websocket.TextMessage, []byte(s)) }
					say("2probe")
					if _, b, err := ws.ReadMessage(); err != nil || string(b) != "3probe" {
						t.Fatalf("%q %v", b, err)
					}
					say("5")
				}
				say("4said")
				say("1")
				for end := time.Now().Add(time.Minute); caught.Load() == 0 || w.s.Len() != 1; time.Sleep(time.Millisecond) {
					if time.Now().After(end) {
						t.Fatalf("%d panics are caught, %d connections are left; want 1 and 1", caught.Load(), w.s.Len())
					}
				}
				other.want("another connection", "POST", "4hello", 200, "ok")
				if other.ear.count() != 1 {
					t.Error("it is not heard")
				}
			})
		}
	}
}
