package main

import (
	"bytes"
	"cmp"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"rtcd/creds"
	"rtcd/signaling"
)

// patience bounds what a test waits for.
const patience = time.Minute

// talker is a client of some dialect on one WebSocket.
type talker struct {
	t      *testing.T
	name   string
	socket *websocket.Conn
}

// site is the address of the running process, with a scheme.
func (r *running) site(scheme string) string {
	return scheme + "://" + r.https.listeners[0].Addr().String()
}

// dial opens a WebSocket at an address; the status tells why not.
func (r *running) dial(address string, header http.Header) (*websocket.Conn, int) {
	r.t.Helper()
	dialer := websocket.Dialer{TLSClientConfig: &tls.Config{RootCAs: r.roots}}
	if strings.HasPrefix(address, "/ws") {
		dialer.Subprotocols = []string{signaling.Subprotocol}
	}
	socket, answer, err := dialer.DialContext(r.t.Context(), r.site("wss")+address, header)
	if answer == nil {
		r.t.Fatalf("%s: %v", address, err)
	}
	answer.Body.Close()
	if err != nil {
		return nil, answer.StatusCode
	}
	r.clients = append(r.clients, socket)
	return socket, answer.StatusCode
}

// talk opens a WebSocket and has the conversation: what begins with "> " is said, the
// rest is heard, sooner or later.
func (r *running) talk(name, address string, conversation ...string) *talker {
	r.t.Helper()
	socket, status := r.dial(address, nil)
	if socket == nil {
		r.t.Fatalf("%s at %s: %d", name, address, status)
	}
	c := &talker{r.t, name, socket}
	c.converse(conversation...)
	return c
}

func (c *talker) converse(conversation ...string) {
	c.t.Helper()
	for _, line := range conversation {
		if text, said := strings.CutPrefix(line, "> "); said {
			if err := c.socket.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
				c.t.Fatalf("%s says %s: %v", c.name, text, err)
			}
			continue
		}
		c.hear(line)
	}
}

// hear reads on until text comes.
func (c *talker) hear(text string) {
	c.t.Helper()
	c.socket.SetReadDeadline(time.Now().Add(patience))
	for {
		_, frame, err := c.socket.ReadMessage()
		if err != nil {
			c.t.Fatalf("%s wants %s: %v", c.name, text, err)
		}
		if strings.Contains(string(frame), text) {
			return
		}
	}
}

// wantEnd reads until the server ends the connection by a close frame; Engine.IO
// says so before.
func (c *talker) wantEnd(why string) {
	c.t.Helper()
	c.socket.SetReadDeadline(time.Now().Add(patience))
	for {
		if _, _, err := c.socket.ReadMessage(); err != nil {
			if !websocket.IsCloseError(err, websocket.CloseNormalClosure, websocket.CloseGoingAway,
				websocket.CloseNoStatusReceived, signaling.CloseForbidden) {
				c.t.Errorf("%s: %s ends with %v", why, c.name, err)
			}
			return
		}
	}
}

// pair is a dialect with two of its clients: one says something, the other hears it.
type pair struct {
	dialect     string   // the key that switches it off
	address     string   // of both, unless
	another     string   // there is another
	one, other  []string // how they come in
	says, hears string
}

const socketIO = "/socket.io/?EIO=4&transport=websocket"

func enterSocketIO(more ...string) []string {
	return append([]string{`"sid"`, `> 40`, `40{"sid"`}, more...)
}

func easyrtcAuth(ack int) string {
	return fmt.Sprintf(`> 42%d["easyrtcAuth",{"msgType":"authenticate","msgData":{"apiVersion":"2.1.8","applicationName":"app","roomJoin":{"r":{"roomName":"r"}}}}]`, ack)
}

// pairs are the native protocol and all dialects.
func pairs() []pair {
	return []pair{
		{
			address: "/ws",
			one:     []string{`> {"type":"hello","room":"r"}`, `"welcome"`},
			other:   []string{`> {"type":"hello","room":"r"}`, `"welcome"`},
			says:    `{"type":"message","to":"#r","data":"moin"}`, hears: `"data":"moin"`,
		},
		{
			dialect: "p2p", address: socketIO,
			one:   enterSocketIO(`> 42["room",{"username":"ann","room":"r"}]`, `42["numClients",0]`),
			other: enterSocketIO(`> 42["room",{"username":"bob","room":"r"}]`, `42["numClients",1]`),
			says:  `42["msg",{"text":"moin"}]`, hears: `42["msg",{"text":"moin"}]`,
		},
		{
			dialect: "pair", address: socketIO,
			one:   enterSocketIO(`> 42["register",{"uid":7,"type":0}]`),
			other: enterSocketIO(`> 42["register",{"uid":7,"type":1}]`, `42["syncfrom"]`),
			says:  `42["message","moin"]`, hears: `42["message","moin"]`,
		},
		{
			dialect: "call", address: socketIO + "&room=calls",
			one: enterSocketIO(), other: enterSocketIO(),
			says: `42["offer","{\"sdp\":1}"]`, hears: `42["offer","{\"sdp\":1}"]`,
		},
		{
			dialect: "chat", address: socketIO + "&room=chats",
			one:   enterSocketIO(`> 42["join","ann"]`, `42["user-joined","ann"]`),
			other: enterSocketIO(`> 42["join","bob"]`, `42["user-joined","bob"]`),
			says:  `42["chat-message","moin"]`, hears: `42["chat-message",{"message":"moin"}]`,
		},
		{
			dialect: "easyrtc", address: socketIO,
			one:   enterSocketIO(easyrtcAuth(0), `"turn:127.0.0.1`),
			other: enterSocketIO(easyrtcAuth(0), `"turn:127.0.0.1`),
			says:  `421["easyrtcMsg",{"msgType":"m","targetRoom":"r","msgData":"moin"}]`, hears: `"msgData":"moin"`,
		},
		{
			dialect: "json", address: "/json/team",
			one:   []string{`"Welcome to connect Signaling Server"`, `> {"type":"login","name":"ann"}`, `"success":true`},
			other: []string{`> {"type":"login","name":"bob"}`, `"success":true`},
			says:  `{"type":"offer","name":"bob","offer":{"sdp":"moin"}}`, hears: `{"type":"offer","offer":{"sdp":"moin"},"name":"ann"}`,
		},
		{
			dialect: "ywebrtc", address: "/",
			one:   []string{`> {"type":"subscribe","topics":["t"]}`, `> {"type":"ping"}`, `{"type":"pong"}`},
			other: []string{`> {"type":"subscribe","topics":["t"]}`, `> {"type":"ping"}`, `{"type":"pong"}`},
			says:  `{"type":"publish","topic":"t","data":"moin"}`, hears: `"data":"moin"`,
		},
		{
			dialect: "peerjs", address: "/peerjs?key=peerjs&id=ann&token=a", another: "/peerjs?key=peerjs&id=bob&token=b",
			one: []string{`"type":"OPEN"`}, other: []string{`"type":"OPEN"`},
			says: `{"type":"OFFER","dst":"bob","payload":"moin"}`, hears: `"payload":"moin"`,
		},
	}
}

// open brings the two clients in.
func (r *running) open(p pair) (one, other *talker) {
	r.t.Helper()
	one = r.talk("one of "+p.dialect, p.address, p.one...)
	return one, r.talk("other of "+p.dialect, cmp.Or(p.another, p.address), p.other...)
}

const openHub = "signaling: {auth: none}\n"

// TestAllDialectsAtOnce: on one port, as members of one hub, until it drains.
func TestAllDialectsAtOnce(t *testing.T) {
	r := startWith(t, io.Discard, openHub, func(*app) {})
	var all []*talker
	for _, p := range pairs() {
		one, other := r.open(p)
		all = append(all, one, other)
	}
	for i, p := range pairs() {
		all[2*i].converse("> " + p.says)
		all[2*i+1].converse(p.hears)
	}
	if n, want := len(r.hub.Members()), 2*len(pairs()); n != want {
		t.Errorf("%d members, want %d", n, want)
	}
	for dialect, want := range map[string]float64{"native": 2, "socketio": 10, "jsonws": 4, "peerjs": 2} {
		if got := r.gauge("rtcd_signaling_sessions", dialect); got != want {
			t.Errorf("%v sessions of %s, want %v", got, dialect, want)
		}
	}
	r.signals <- syscall.SIGTERM
	for _, c := range all {
		c.wantEnd("drain")
	}
	r.wantEnded()
}

// gauge is the value of a metric for a dialect.
func (r *running) gauge(name, dialect string) float64 {
	r.t.Helper()
	families, err := r.registry.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && m.GetLabel()[0].GetValue() == dialect {
				return m.GetGauge().GetValue()
			}
		}
	}
	return 0
}

// TestMembersOfDialectsAreKicked like any others.
func TestMembersOfDialectsAreKicked(t *testing.T) {
	r := startWith(t, io.Discard, openHub, func(*app) {})
	defer r.end()
	for _, p := range pairs() {
		one, other := r.open(p)
		for _, m := range r.hub.Members() {
			r.hub.Kick(m.Peer, "behave")
		}
		one.wantEnd("kick")
		other.wantEnd("kick")
	}
	if n := len(r.hub.Members()); n != 0 {
		t.Errorf("%d members are left", n)
	}
}

// TestForeignPages get no word out of any dialect; the own pages do.
func TestForeignPages(t *testing.T) {
	r := startWith(t, io.Discard, openHub, func(*app) {})
	defer r.end()
	for _, p := range pairs() {
		if _, status := r.dial(p.address, http.Header{"Origin": {"https://evil.example"}}); status != http.StatusForbidden {
			t.Errorf("%s: a foreign page at %s: %d", p.dialect, p.address, status)
		}
		if _, status := r.dial(p.address, http.Header{"Origin": {r.site("https")}}); status != http.StatusSwitchingProtocols {
			t.Errorf("%s: the own page at %s: %d", p.dialect, p.address, status)
		}
	}
	for _, path := range []string{"/socket.io/?EIO=4&transport=polling", "/peerjs/id"} {
		if status, _ := r.get(path, "https://evil.example"); status != http.StatusForbidden {
			t.Errorf("a foreign page gets %s: %d", path, status)
		}
		if status, _ := r.get(path, ""); status != http.StatusOK {
			t.Errorf("an app gets %s: %d", path, status)
		}
	}
}

// get asks for a path, as a page of an origin if there is one.
func (r *running) get(path, origin string) (status int, body string) {
	r.t.Helper()
	request, err := http.NewRequestWithContext(r.t.Context(), http.MethodGet, r.site("https")+path, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	if origin != "" {
		request.Header.Set("Origin", origin)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: r.roots}, DisableKeepAlives: true}
	answer, err := transport.RoundTrip(request)
	if err != nil {
		r.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return answer.StatusCode, string(text)
}

// TestDialectsWithoutOthers: those that are off are not there.
func TestDialectsThatAreOff(t *testing.T) {
	r := startWith(t, io.Discard, `signaling: {auth: none, dialects: {p2p: false, pair: false, call: false, chat: false,
    easyrtc: false, json: false, ywebrtc: false, peerjs: false}}`, func(*app) {})
	defer r.end()
	for _, p := range pairs() {
		if _, status := r.dial(p.address, nil); p.dialect != "" && status != http.StatusNotFound {
			t.Errorf("%s at %s: %d", p.dialect, p.address, status)
		}
	}
	for path, want := range map[string]int{
		"/socket.io/?EIO=4&transport=polling": 404, "/socket.io": 404, "/json": 404, "/peerjs/id": 404,
		"/legacy-shim.js": 404, "/easyrtc/easyrtc.js": 404, "/": 200,
	} {
		if status, _ := r.get(path, ""); status != want {
			t.Errorf("%s: %d, want %d", path, status, want)
		}
	}
}

// TestOneDialectIsOff: its words mean nothing, those of the others do.
func TestOneDialectIsOff(t *testing.T) {
	for dialect, c := range map[string]struct {
		address string
		says    string // what it does not know …
		before  string // … and what it does
		hears   string // the answer, the first that it hears
	}{
		"p2p":     {socketIO, `42["room",{"room":"r"}]`, `42["join","ann"]`, `42["user-joined","ann"]`},
		"pair":    {socketIO, `42["register",{"uid":1,"type":0}]`, `42["room",{"room":"r"}]`, `42["numClients",0]`},
		"call":    {socketIO, `42["_ice_candidate","x"]`, `42["chat-message","x"]`, `42["chat-message",{"message":"x"}]`},
		"chat":    {socketIO, `42["join","ann"]`, `42["room",{"room":"r"}]`, `42["numClients",0]`},
		"easyrtc": {socketIO, strings.TrimPrefix(easyrtcAuth(0), "> "), `42["join","ann"]`, `42["user-joined","ann"]`},
		"json":    {"/json", `{"type":"login","name":"ann"}`, `{"type":"ping"}`, `{"type":"pong"}`},
		"ywebrtc": {"/json", `{"type":"subscribe","topics":["t"]}`, `{"type":"login","name":"ann"}`, `"success":true`},
	} {
		r := startWith(t, io.Discard, "signaling: {auth: none, dialects: {"+dialect+": false}}", func(*app) {})
		entry := []string{}
		if c.address == socketIO {
			entry = enterSocketIO()
		}
		client := r.talk("without "+dialect, c.address, entry...)
		client.converse("> "+c.says, "> "+c.before)
		client.wantNext(c.hears, `42["welcome"`, `"Welcome to connect`, `"Command not found`)
		r.end()
	}
}

// wantNext wants that text comes next, but for what is to be passed over.
func (c *talker) wantNext(text string, passed ...string) {
	c.t.Helper()
	c.socket.SetReadDeadline(time.Now().Add(patience))
	for {
		_, frame, err := c.socket.ReadMessage()
		skip := func(p string) bool { return strings.Contains(string(frame), p) }
		switch {
		case err == nil && slices.ContainsFunc(passed, skip):
		case err != nil || !strings.Contains(string(frame), text):
			c.t.Fatalf("%s hears %s %v, want %s", c.name, frame, err, text)
		default:
			return
		}
	}
}

// TestTokensOfDialects are in the address, and in no log.
func TestTokensOfDialects(t *testing.T) {
	var log bytes.Buffer
	r := newRunning(t, &log, strings.Replace(loopback(t), "listen: {", "listen: {trusted_proxies: [127.0.0.1], ", 1), lookup)
	r.serve()
	token, err := r.tokens.Sign(creds.Claims{Expires: time.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	const wrong = "nobody-signed-this"
	with := func(address, token string) string {
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		q := u.Query()
		q.Set("token", token)
		if q.Has("key") {
			q.Set("token", q.Get("id")+"'s")
			q.Set("key", token)
		}
		u.RawQuery = q.Encode()
		return u.String()
	}
	for i, p := range pairs()[1:] {
		for _, address := range []string{p.address, with(p.address, wrong)} {
			// From another address each, for who guesses often has to wait.
			socket, status := r.dial(address, http.Header{"X-Forwarded-For": {"192.0.2." + strconv.Itoa(i)}})
			if p.dialect == "peerjs" {
				(&talker{t, "a stranger", socket}).hear("Invalid key")
			} else if status != http.StatusUnauthorized && status != http.StatusForbidden {
				t.Errorf("%s without a good token: %d", p.dialect, status)
			}
		}
		another := p.another
		if another != "" {
			another = with(another, token)
		}
		p.address, p.another = with(p.address, token), another
		one, other := r.open(p)
		one.converse("> " + p.says)
		other.converse(p.hears)
	}
	r.end()
	for _, secret := range []string{token, wrong} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("%s is in the log:\n%s", secret, log.String())
		}
	}
}

// TestAPollWaitsLongerThanARequestMayTake to be read.
func TestAPollWaitsLongerThanARequestMayTake(t *testing.T) {
	const timeout = 50 * time.Millisecond
	r := startWith(t, io.Discard, openHub, func(a *app) { a.https.server.ReadTimeout, a.https.server.WriteTimeout = timeout, timeout })
	defer r.end()
	const poll = "/socket.io/?EIO=3&transport=polling&b64=1"
	_, opened := r.get(poll, "")
	_, sid, _ := strings.Cut(opened, `"sid":"`)
	sid, _, _ = strings.Cut(sid, `"`)
	if !strings.Contains(opened, "40") {
		r.get(poll+"&sid="+sid, "")
	}
	heard := make(chan string)
	// Ends with the answer.
	go func() { _, body := r.get(poll+"&sid="+sid, ""); heard <- body }()
	select {
	case early := <-heard:
		t.Errorf("heard %q, though nothing was said", early)
	case <-time.After(4 * timeout): // what must not happen has time to
		r.talk("the other", socketIO, enterSocketIO(`> 42["join","ann"]`)...)
		if body := <-heard; !strings.Contains(body, `["user-joined","ann"]`) {
			t.Errorf("heard %q", body)
		}
	}
}

// TestScriptsOfOldPages are served from their two folders and from nowhere else.
func TestScriptsOfOldPages(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"socket.io/socket.io.js": "io", "socket.io/readme.txt": "text", "easyrtc/easyrtc.js": "easyrtc", "easyrtc/css/easyrtc.css": "css",
		"other/x.js": "other", "x.js": "top",
	} {
		file := filepath.Join(dir, "scripts", filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	secret := filepath.Join(dir, "secret.js")
	if err := os.WriteFile(secret, []byte("secret"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(secret, filepath.Join(dir, "scripts", "easyrtc", "link.js")); err != nil {
		t.Fatal(err)
	}
	r := startWith(t, io.Discard, fmt.Sprintf("signaling: {auth: none, dialects: {scripts: %q}}", filepath.Join(dir, "scripts")), func(*app) {})
	defer r.end()
	for path, want := range map[string]string{
		"/socket.io/socket.io.js": "io", "/socket.io/socket.io.js?v=1": "io", "/easyrtc/easyrtc.js": "easyrtc", "/easyrtc/css/easyrtc.css": "css",
		"/socket.io/readme.txt": "", "/easyrtc/": "", "/easyrtc/css": "", "/easyrtc/none.js": "", "/easyrtc/link.js": "",
		"/easyrtc/%2e%2e/x.js": "", "/easyrtc/..%2f..%2fsecret.js": "", "/socket.io/..%2feasyrtc%2f..%2f..%2fsecret.js": "", "/other/x.js": "",
	} {
		status, body := r.get(path, "")
		if want == "" && status == http.StatusOK || want != "" && body != want {
			t.Errorf("%s: %d %.40q, want %q", path, status, body, want)
		}
	}
	if _, err := openScripts(filepath.Join(dir, "none")); err == nil || !strings.Contains(err.Error(), "signaling.dialects.scripts") {
		t.Errorf("a directory that is not there: %v", err)
	}
}
