package peerjs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/gorilla/websocket"

	"rtcd/creds"
	"rtcd/internal/leak"
	"rtcd/signaling"
	"rtcd/signaling/dialect/textsocket"
)

// world is a running server on a real socket.
type world struct {
	t   testing.TB
	hub *signaling.Hub
	url string // http://…
}

func newWorld(t testing.TB, hubs signaling.Options, o Options) *world {
	t.Helper()
	hub, err := signaling.New(hubs)
	if err != nil {
		t.Fatal(err)
	}
	s := New(hub, o)
	run(t, hub.Run)
	run(t, s.Run) // ends before the hub
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	return &world{t, hub, server.URL}
}

func run(t testing.TB, service func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	// Owned by the test, which waits for its end.
	go func() { done <- service(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestMain(m *testing.M) { leak.Main(m, "rtcd/signaling") }

var open = signaling.Options{Open: true}

// peer is one WebSocket of a test.
type peer struct {
	t    testing.TB
	conn *websocket.Conn
}

// dial connects with a query.
func (w *world) dial(query string) *peer {
	w.t.Helper()
	conn, _, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(w.url, "http")+"/peerjs?"+query, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { conn.Close() })
	return &peer{w.t, conn}
}

// open connects by an id, with its own token.
func (w *world) open(id string) *peer {
	w.t.Helper()
	p := w.dial("key=peerjs&id=" + id + "&token=of-" + id)
	p.want(`{"type":"OPEN"}`)
	return p
}

func (p *peer) say(frame string) {
	p.t.Helper()
	if err := p.conn.WriteMessage(websocket.TextMessage, []byte(frame)); err != nil {
		p.t.Fatal(err)
	}
}

func (p *peer) want(frame string) {
	p.t.Helper()
	_, data, err := p.conn.ReadMessage()
	if err != nil || string(data) != frame {
		p.t.Fatalf("heard %s %v, want %s", data, err, frame)
	}
}

func (p *peer) wantEnd(code int) {
	p.t.Helper()
	if _, data, err := p.conn.ReadMessage(); !websocket.IsCloseError(err, code) {
		p.t.Fatalf("heard %s %v, want the end with %d", data, err, code)
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

// get returns status, body and headers.
func (w *world) get(path string, header ...string) (int, string, http.Header) {
	w.t.Helper()
	r, err := http.NewRequest(http.MethodGet, w.url+path, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return answer.StatusCode, string(body), answer.Header
}

func TestMessagesGoToTheirPeerUnchanged(t *testing.T) {
	w := newWorld(t, open, Options{})
	a, b := w.open("a"), w.open("b")
	a.say(`{"type":"OFFER","dst":"b","src":"mallory","payload":{"sdp":"<ü>", "n":1e3}}`)
	b.want(`{"type":"OFFER","src":"a","dst":"b","payload":{"sdp":"<ü>", "n":1e3}}`)
	b.say(`{"payload":null,"dst":"a","type":"ANSWER","extra":1}`)
	a.want(`{"type":"ANSWER","src":"b","dst":"a","payload":null}`)
	for i := range 50 { // the order is kept
		a.say(fmt.Sprintf(`{"type":"CANDIDATE","dst":"b","payload":%d}`, i))
	}
	a.say(`{"type":"LEAVE","dst":"b"}`)
	for i := range 50 {
		b.want(fmt.Sprintf(`{"type":"CANDIDATE","src":"a","dst":"b","payload":%d}`, i))
	}
	b.want(`{"type":"LEAVE","src":"a","dst":"b"}`)
}

func TestOneWhoIsNotThereIsWaitedFor(t *testing.T) {
	w := newWorld(t, open, Options{Expire: time.Hour})
	a := w.open("a")
	for i := range 30 {
		a.say(fmt.Sprintf(`{"type":"OFFER","dst":"late","payload":%d}`, i))
	}
	a.say(`{"type":"OFFER","dst":"` + strings.Repeat("x", 200) + `"}`)
	a.want(`{"type":"EXPIRE","src":"` + strings.Repeat("x", 200) + `","dst":"a"}`) // all before has been taken
	late := w.open("late")
	for i := range 30 {
		late.want(fmt.Sprintf(`{"type":"OFFER","src":"a","dst":"late","payload":%d}`, i))
	}
}

func TestOneWhoDoesNotComeExpiresOnce(t *testing.T) {
	w := newWorld(t, open, Options{Expire: 2 * time.Second})
	a, b := w.open("a"), w.open("b")
	a.say(`{"type":"LEAVE","dst":"nobody"}`) // is not waited for
	a.say(`{"type":"EXPIRE","dst":"nobody"}`)
	for range 6 {
		a.say(`{"type":"CANDIDATE","dst":"never","payload":2}`)
	}
	a.want(`{"type":"EXPIRE","src":"never","dst":"a"}`)
	b.say(`{"type":"ANSWER","dst":"a","payload":1}`)
	a.want(`{"type":"ANSWER","src":"b","dst":"a","payload":1}`)
}

func TestWhatWaitsIsBounded(t *testing.T) {
	w := newWorld(t, open, Options{Expire: time.Hour, Socket: textsocket.Options{Messages: 1e6, Burst: 1e6, Bytes: 1e9}})
	a := w.open("a")
	big := strings.Repeat("x", 30<<10)
	for range 100 {
		a.say(`{"type":"OFFER","dst":"late","payload":"` + big + `"}`)
	}
	for i := range 100 {
		a.say(fmt.Sprintf(`{"type":"OFFER","dst":"n%d"}`, i))
	}
	for i := 15; i < 100; i++ { // 16 peers can be waited for
		a.want(fmt.Sprintf(`{"type":"EXPIRE","src":"n%d","dst":"a"}`, i))
	}
	late := w.open("late")
	for range 1 + maxBytes/(30<<10+2) {
		late.want(`{"type":"OFFER","src":"a","dst":"late","payload":"` + big + `"}`)
	}
	a.say(`{"type":"OFFER","dst":"late","payload":"the next"}`)
	late.want(`{"type":"OFFER","src":"a","dst":"late","payload":"the next"}`)
}

func TestAnIDIsItsOwnersOnly(t *testing.T) {
	w := newWorld(t, open, Options{})
	first, b := w.open("a"), w.open("b")
	thief := w.dial("key=peerjs&id=a&token=other")
	thief.want(`{"type":"ID-TAKEN","payload":{"msg":"ID is taken"}}`)
	thief.wantEnd(websocket.CloseNormalClosure)
	w.open("a-elsewhere")
	again := w.open("a") // with the same token
	first.wantEnd(signaling.CloseTakenOver)
	b.say(`{"type":"OFFER","dst":"a","payload":1}`)
	again.want(`{"type":"OFFER","src":"b","dst":"a","payload":1}`)
	again.say(`{"type":"LEAVE"}`)
	again.wantEnd(websocket.CloseNormalClosure)
	w.wantMembers(2, "a has left")
	w.dial("key=peerjs&id=a&token=other").want(`{"type":"OPEN"}`)
	w.dial("key=another&id=a&token=x").want(`{"type":"OPEN"}`) // a world of its own
}

func TestWhatIsRefused(t *testing.T) {
	w := newWorld(t, open, Options{})
	long := strings.Repeat("x", 300)
	for query, msg := range map[string]string{
		"":                               noParameters,
		"key=peerjs&id=a":                noParameters,
		"key=peerjs&token=a":             noParameters,
		"id=a&token=a":                   noParameters,
		"key=" + long + "&id=a&token=a":  invalidKey,
		"key=peerjs&id=a&token=" + long:  invalidToken,
		"key=peerjs&token=a&id=" + long:  "ID is invalid",
		"key=peerjs&token=a&id=-a":       "ID is invalid",
		"key=peerjs&token=a&id=a%3Cb%3E": "ID is invalid",
		"key=peerjs&token=a&id=a%0A":     "ID is invalid",
		"key=peerjs&token=a&id=%FF":      "ID is invalid",
	} {
		p := w.dial(query)
		p.want(`{"payload":{"msg":"` + msg + `"},"type":"ERROR"}`)
		p.wantEnd(websocket.CloseNormalClosure)
	}
	w.wantMembers(0, "nobody was let in")
	w.dial("key=peerjs&token=a&id=a%20b_c-1").want(`{"type":"OPEN"}`)
}

func TestOddMessagesHarmNobody(t *testing.T) {
	w := newWorld(t, open, Options{})
	a, b := w.open("a"), w.open("b")
	for _, frame := range []string{
		"", "{", "null", "[]", "7", `"x"`, "{}", `{"type":null}`, `{"type":"OFFER"}`, `{"type":"OFFER","dst":{}}`,
		`{"type":"OFFER","dst":null,"payload":1}`, `{"type":"constructor","dst":"b"}`, `{"type":"OPEN","dst":"b"}`,
		`{"type":"ID-TAKEN","dst":"b"}`, `{"type":"ERROR","dst":"b"}`, `{"TYPE":"OFFER","dst":"b"}`, "\x00\xff",
		`{"type":"OFFER","dst":"__proto__","payload":1}`, `{"type":"HEARTBEAT"}`,
	} {
		a.say(frame)
	}
	if err := a.conn.WriteMessage(websocket.BinaryMessage, []byte{1, 2, 3}); err != nil {
		t.Fatal(err)
	}
	a.say(`{"type":"OFFER","dst":"b","payload":"still here"}`)
	b.want(`{"type":"OFFER","src":"a","dst":"b","payload":"still here"}`)
}

func TestMembersOfTheHub(t *testing.T) {
	w := newWorld(t, open, Options{})
	a := w.open("a")
	members := w.hub.Members()
	if len(members) != 1 || members[0].User != "a" || !w.hub.Kick(members[0].Peer, "go") {
		t.Errorf("the hub knows %v", members)
	}
	a.wantEnd(signaling.CloseForbidden)
	w.wantMembers(0, "a is out")
	w.open("a")
}

// tokens is an Auth of tokens ROOM.NAME.
type tokens struct{}

func (tokens) Verify(token string, now time.Time) (creds.Claims, error) {
	room, name, ok := strings.Cut(token, ".")
	if !ok {
		return creds.Claims{}, errors.New("not a token")
	}
	return creds.Claims{Room: room, Name: name, Expires: now.Add(time.Hour)}, nil
}

// mint is an ICE.
type mint struct{}

func (mint) Mint(string) signaling.ICEServers {
	return signaling.ICEServers{TTL: time.Hour, Servers: []signaling.ICEServer{
		{URLs: []string{"turn:192.0.2.7"}, Username: "u", Credential: "c"},
	}}
}

func (mint) Revoke(string) {}

func TestTheKeyIsTheJoinToken(t *testing.T) {
	w := newWorld(t, signaling.Options{Auth: tokens{}, ICE: mint{}, Limits: signaling.Limits{Members: 2}}, Options{Discovery: true})
	const opened = `{"payload":{"iceServers":[{"urls":["turn:192.0.2.7"],"username":"u","credential":"c"}],"ttl":3600},"type":"OPEN"}`
	for query, frame := range map[string]string{
		"key=peerjs&id=a&token=t":  `{"payload":{"msg":"Invalid key provided"},"type":"ERROR"}`,
		"key=r.Ann&id=bob&token=t": `{"payload":{"msg":"The key is for another ID"},"type":"ERROR"}`,
	} {
		p := w.dial(query)
		p.want(frame)
		p.wantEnd(websocket.CloseNormalClosure)
	}
	a, b := w.dial("key=r.&id=a&token=t"), w.dial("key=r.Ann%20%C3%96&id=Ann%20%C3%96&token=t")
	a.want(opened)
	b.want(opened)
	w.dial("key=other.&id=a&token=u").want(opened)
	a.say(`{"type":"OFFER","dst":"Ann Ö","payload":1}`)
	b.want(`{"type":"OFFER","src":"a","dst":"Ann Ö","payload":1}`)
	full := w.dial("key=r.&id=c&token=t")
	full.want(`{"payload":{"msg":"Server has reached its concurrent user limit"},"type":"ERROR"}`)

	for path, want := range map[string]string{
		"/r.x/peers": `200 ["Ann Ö","a"]` + "\n", "/other.x/peers": `200 ["a"]` + "\n",
		"/peerjs/peers": "401 Unauthorized\n", "/r.Ann/id": "200 Ann",
	} {
		if code, body, _ := w.get(path); fmt.Sprint(code, " ", body) != want {
			t.Errorf("%s: %d %q, want %q", path, code, body, want)
		}
	}
}

func TestRequests(t *testing.T) {
	w := newWorld(t, open, Options{Mount: "/my/", Socket: textsocket.Options{
		Origin: func(r *http.Request) bool { return r.Header.Get("Origin") != "https://bad.example" },
	}})
	_, id, h := w.get("/my/peerjs/id", "Origin", "https://page.example")
	if !validID.MatchString(id) || len(id) != 36 || h.Get("Access-Control-Allow-Origin") != "https://page.example" {
		t.Errorf("id %q, headers %v", id, h)
	}
	if _, other, _ := w.get("/my/any-key/id"); other == id {
		t.Error("two have the same id")
	}
	for path, want := range map[string]int{
		"/my/peerjs/peers": 401, "/my": 200, "/my/": 200, "/my/peerjs": 404, "/my/x": 404, "/my/x/y": 404, "/peerjs/id": 404,
		"/my//id": 404,
	} {
		if code, body, _ := w.get(path); code != want {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	if code, _, _ := w.get("/my/peerjs/id", "Origin", "https://bad.example"); code != 403 {
		t.Errorf("a page that may not asks: %d", code)
	}
}

func TestOwns(t *testing.T) {
	s := New(nil, Options{})
	var owned []string
	for _, path := range []string{"/peerjs", "/peerjs/id", "/k.e.y/peers", "/", "/apps/x", "/id", "//id", "/x/id/y"} {
		if s.Owns(path) {
			owned = append(owned, path)
		}
	}
	if want := []string{"/peerjs", "/peerjs/id", "/k.e.y/peers"}; !slices.Equal(owned, want) {
		t.Errorf("owned: %q", owned)
	}
}

// FuzzParse: whatever somebody sends, what others hear is JSON with the sender's own name.
func FuzzParse(f *testing.F) {
	for _, frame := range []string{
		`{"type":"OFFER","dst":"b","payload":{"sdp":"x"}}`, `{"type":"LEAVE"}`, `{"type":"EXPIRE","dst":"b","src":"c"}`,
		`{"type":"CANDIDATE","dst":"\u0000","payload":null}`, `{"type":"HEARTBEAT"}`, `null`,
	} {
		f.Add([]byte(frame))
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		m, ok := parse(frame)
		if !ok {
			return
		}
		heard := wordMessage(m.kind, "me", m.dst, m.payload)
		var told struct{ Type, Src, Dst string }
		if err := json.Unmarshal(heard, &told); err != nil || !utf8.Valid(heard) {
			t.Fatalf("after %q others hear %q: %v", frame, heard, err)
		}
		if told.Src != "me" || told.Type != m.kind || told.Dst != m.dst || m.dst == "" && m.kind != "LEAVE" {
			t.Fatalf("after %q others hear %q", frame, heard)
		}
	})
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
