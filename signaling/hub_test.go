package signaling

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/prometheus/client_golang/prometheus"

	"rtcd/creds"
)

func TestNobodyIsLetInByMistake(t *testing.T) {
	if _, err := New(Options{}); err == nil {
		t.Fatal("a hub with neither tokens nor Open")
	}
}

// TestTheTokensOfCreds joins with real join tokens.
func TestTheTokensOfCreds(t *testing.T) {
	signer, err := creds.NewTokens(creds.TokensOptions{Secrets: []string{strings.Repeat("s", creds.MinSecret)}})
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, Options{Auth: signer})
	token, err := signer.Sign(creds.Claims{Room: "r", Name: "ann", Perms: []string{"message", "other"}, Expires: time.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	c, _ := w.enter("ann", `{"type":"hello","room":"r","token":"`+token+`"}`)
	c.say(`{"type":"join","room":"q"}`)
	c.want(`{"code":"forbidden"}`)
	c.say(`{"type":"signal","to":"#r","kind":"k"}`)
	c.want(`{"code":"forbidden"}`)
	c.say(`{"type":"message","id":1,"to":"#r","data":0}`)
	c.want(`{"type":"ok"}`)
	forged := w.open("forger", nil)
	forged.say(`{"type":"hello","token":"%sx"}`, token)
	forged.want(`{"code":"unauthorized"}`)
	forged.wantClosed(CloseUnauthorized)
}

func TestHelloNeedsAToken(t *testing.T) {
	ice := &mint{ttl: time.Hour}
	w := newWorld(t, Options{ICE: ice, Auth: tokens{
		"ann": {Room: "r", Name: "ann", Expires: never}, "old": {Room: "r", Expires: time.Unix(1, 0)},
	}})
	for hello, code := range map[string]int{
		`{"type":"hello","room":"r"}`:                            CloseUnauthorized,
		`{"type":"hello","room":"r","token":"forged"}`:           CloseUnauthorized,
		`{"type":"hello","room":"r","token":"old"}`:              CloseUnauthorized,
		`{"type":"hello","room":"q","token":"ann"}`:              CloseForbidden,
		`{"type":"hello","resume":"x"}`:                          CloseExpired,
		`{"type":"join","room":"r"}`:                             CloseProtocol,
		`{"type":"hello","token":7}`:                             CloseProtocol,
		`hello`:                                                  CloseProtocol,
		`{"type":"hello","token":"ann","data":"` + kilo() + `"}`: CloseForbidden,
	} {
		c := w.open("stranger", nil)
		c.say("%s", hello)
		f := c.want(`{"type":"error"}`)
		if f["seq"] != nil || f["ice"] != nil {
			t.Errorf("%.60s: %v", hello, f)
		}
		c.wantClosed(code)
	}
	if minted, _ := ice.counts(); minted != 0 {
		t.Errorf("%d credentials for strangers", minted)
	}
	if n := len(w.hub.Members()); n != 0 {
		t.Errorf("%d members", n)
	}
	offered := http.Header{"Sec-Websocket-Protocol": {Subprotocol + ", token.ann"}}
	c := w.open("ann", offered)
	if c.conn.Subprotocol() != Subprotocol {
		t.Errorf("subprotocol %q", c.conn.Subprotocol())
	}
	c.say(`{"type":"hello","user":"forged","room":"r"}`)
	c.want(`{"type":"welcome","user":"ann"}`)
}

func kilo() string { return strings.Repeat("x", 1024) }

func TestExclusiveNames(t *testing.T) {
	w := newWorld(t, Options{})
	w.enter("ann", `{"type":"hello","user":"ann"}`)
	w.enter("another ann", `{"type":"hello","user":"ann"}`)
	c := w.open("third", nil)
	c.say(`{"type":"hello","user":"ann","exclusive":true}`)
	c.want(`{"type":"error","code":"taken"}`)
	c.wantClosed(CloseForbidden)
}

func TestOrigins(t *testing.T) {
	for _, c := range []struct {
		allowed string
		origin  string
		want    bool
	}{
		{"self", "", true},
		{"", "", true},
		{"self", "https://hub.example.com", true},
		{"self", "http://hub.example.com", false}, // the port differs, and on TLS the scheme would
		{"self", "https://HUB.example.com", true},
		{"self", "https://hub.example.com.", true},
		{"self", "https://hub.example.com:443", true},
		{"self", "https://hub.example.com:8443", false},
		{"self", "https://hub.example.com.evil.org", false},
		{"self", "https://evilhub.example.com", false},
		{"self", "https://user@hub.example.com", false},
		{"self", "https://hub.example.com/path", false},
		{"self", "null", false},
		{"*", "null", false},
		{"*", "", true},
		{"*", "https://any.org", true},
		{"*", "file://", false},
		{"*", "nonsense", false},
		{"", "https://hub.example.com", false},
		{"https://app.example.org", "https://app.example.org", true},
		{"https://app.example.org", "http://app.example.org", false},
		{"https://app.example.org", "https://app.example.org:444", false},
		{"https://app.example.org:444", "https://app.example.org:444", true},
		{"app.example.org", "http://app.example.org", true},
		{"https://*.example.org", "https://a.b.example.org", true},
		{"https://*.example.org", "https://example.org", false},
		{"https://*.example.org", "https://badexample.org", false},
		{"https://*.example.org", "https://a.example.org.evil.com", false},
		{"*.example.org", "http://a.example.org", true},
		{"*example.org", "https://badexample.org", false},
	} {
		r := &http.Request{Host: "hub.example.com:443", Header: http.Header{}}
		if c.origin != "" {
			r.Header.Set("Origin", c.origin)
		}
		if got := originAllowed(strings.Fields(c.allowed), r); got != c.want {
			t.Errorf("%q allows %q: %v", c.allowed, c.origin, got)
		}
	}
	secure := &http.Request{Host: "hub.example.com", TLS: &tls.ConnectionState{}, Header: http.Header{"Origin": {"http://hub.example.com"}}}
	if originAllowed([]string{"self"}, secure) {
		t.Error("a plain page on a TLS site")
	}
	proxied := &http.Request{Host: "hub.example.com", Header: http.Header{"Origin": {"https://hub.example.com"}}}
	if !originAllowed([]string{"self"}, proxied) {
		t.Error("a TLS page behind a proxy")
	}
	twice := &http.Request{Host: "hub", Header: http.Header{"Origin": {"https://hub", "https://evil"}}}
	if originAllowed([]string{"*"}, twice) {
		t.Error("two origins")
	}
}

func TestAForeignPageIsRefused(t *testing.T) {
	w := newWorld(t, Options{})
	_, res, err := w.tryOpen("evil", http.Header{"Origin": {"https://evil.org"}})
	if err == nil || res == nil || res.StatusCode != http.StatusForbidden {
		t.Fatalf("%v %v", err, res)
	}
	_, res, err = w.tryOpen("other", http.Header{"Sec-Websocket-Protocol": {"mqtt"}})
	if err == nil || res == nil || res.StatusCode != http.StatusBadRequest {
		t.Fatalf("%v %v", err, res)
	}
	own := http.Header{"Origin": {"http://" + strings.TrimSuffix(strings.TrimPrefix(w.url, "ws://"), "/ws")}}
	if _, _, err = w.tryOpen("own page", own); err != nil {
		t.Fatal(err)
	}
	res2, err := http.Get("http" + strings.TrimPrefix(w.url, "ws"))
	if err != nil || res2.StatusCode != http.StatusBadRequest {
		t.Fatalf("no upgrade: %v %v", err, res2)
	}
	res2.Body.Close()
}

func TestMessageLimits(t *testing.T) {
	w := newWorld(t, Options{Limits: Limits{Rate: 1e-9, Burst: 20}})
	watcher, _ := w.enter("watcher", `{"type":"hello","room":"r"}`)
	c, _ := w.enter("flooder", `{"type":"hello","room":"r"}`)
	watcher.want(`{"event":"join"}`)
	refused := 0
	for i := range 20 + 10 {
		c.say(`{"type":"update","id":%d,"data":1}`, i)
		if f := c.want(`{"re":%d}`, i); f["code"] == CodeRate {
			refused++
		}
	}
	if refused != 10 {
		t.Fatalf("%d of 30 refused", refused)
	}
	c.say(`{"type":"update","data":1}`)
	c.wantClosed(CloseRate)
	watcher.want(`{"event":"update"}`)
	watcher.want(`{"event":"leave","reason":"limits"}`)

	c, _ = w.enter("too big", `{"type":"hello","room":"r"}`)
	watcher.want(`{"event":"join"}`)
	c.say(`{"type":"message","to":"#r","data":"%s"}`, strings.Repeat("x", 64<<10))
	c.wantClosed(CloseTooBig)
	watcher.want(`{"event":"leave","reason":"limits"}`)

	c = w.open("too big a hello", nil)
	c.say(`{"type":"hello","token":"%s"}`, strings.Repeat("x", 64<<10))
	c.wantClosed(CloseTooBig)
}

func TestControlFramesAreLimited(t *testing.T) {
	w := newWorld(t, Options{})
	c, _ := w.enter("pinger", `{"type":"hello"}`)
	for range 200 {
		if c.conn.WriteControl(websocket.PingMessage, []byte("x"), time.Now().Add(time.Minute)) != nil {
			break
		}
	}
	c.wantClosed(CloseRate)
	c = w.open("before hello", nil)
	for range 200 {
		if c.conn.WriteControl(websocket.PongMessage, nil, time.Now().Add(time.Minute)) != nil {
			break
		}
	}
	c.wantClosed(CloseRate)
}

func TestCompressionIsNotOffered(t *testing.T) {
	w := newWorld(t, Options{})
	d := websocket.Dialer{EnableCompression: true}
	conn, res, err := d.Dial(w.url, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if e := res.Header.Get("Sec-Websocket-Extensions"); e != "" {
		t.Fatal(e)
	}
}

// TestASlowConsumerIsPutOut: one member reads nothing; it is closed with 4408, and
// the others get everything meanwhile.
func TestASlowConsumerIsPutOut(t *testing.T) {
	registry := prometheus.NewRegistry()
	w := newWorld(t, Options{
		Limits:       Limits{Rate: 1e6, Burst: 1e6, ByteRate: 1e9, ByteBurst: 1e9, Queue: 64},
		WriteTimeout: time.Hour, // the queue is to be full first, however slow this machine is
		Metrics:      registry,
	})
	w.dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		if err == nil {
			err = conn.(*net.TCPConn).SetReadBuffer(256 << 10)
		}
		return conn, err
	}
	slow, welcome := w.enter("slow", `{"type":"hello","room":"r"}`)
	w.dial = nil
	fast, _ := w.enter("fast", `{"type":"hello","room":"r"}`)
	var talkers []*client // one alone has not so much of the queue
	for _, name := range []string{"talker", "other"} {
		c, _ := w.enter(name, `{"type":"hello","room":"r"}`)
		fast.want(`{"event":"join"}`)
		talkers = append(talkers, c)
	}
	talkers[1].listen()
	payload := strings.Repeat("x", 60_000)
	out := false
	for i := 0; !out; i++ {
		if i == 2000 {
			t.Fatal("120 MB later it is still there")
		}
		talkers[i%2].say(`{"type":"message","to":"#r","event":"%d","data":"%s"}`, i, payload)
		f := fast.hear()
		if f["type"] == TypePeer {
			out = f["event"] == EventLeave && f["reason"] == ReasonSlow
			if f.str("peer") != welcome.str("peer") {
				t.Fatalf("somebody else left: %v", f)
			}
			f = fast.hear()
		}
		if f["event"] != any(itoa(i)) {
			t.Fatalf("message %d: fast hears %.200v", i, f)
		}
	}
	slow.wantClosed(CloseSlow)
	if n := metric(t, registry, "rtcd_signaling_send_queue_dropped_total"); n != 1 {
		t.Errorf("%v events found a queue full", n)
	}
}

func itoa(i int) string { return slog.IntValue(i).String() }

// TestKickAndBan: credentials are revoked, and the banned stay out.
func TestKickAndBan(t *testing.T) {
	ice := &mint{ttl: time.Hour}
	w := newWorld(t, Options{ICE: ice, Auth: tokens{
		"ann": {Subject: "a", Expires: never}, "bob": {Name: "bob", Expires: never}, "bob2": {Name: "bob", Expires: never},
	}})
	ann, _ := w.enter("ann", `{"type":"hello","token":"ann","room":"r"}`)
	bob, welcome := w.enter("bob", `{"type":"hello","token":"bob","room":"r"}`)
	ann.want(`{"event":"join"}`)
	if !w.hub.Kick(welcome.str("peer"), "be nice") {
		t.Fatal("not here")
	}
	ann.want(`{"event":"leave","reason":"kicked"}`)
	bob.want(`{"event":"leave","reason":"kicked","peer":"%s"}`, welcome.str("peer"))
	bob.wantClosed(CloseForbidden)
	if _, revoked := ice.counts(); revoked != 1 || ice.revoked[0] != welcome.str("peer") {
		t.Fatalf("revoked %v", ice.revoked)
	}
	if w.hub.Kick("nobody", "") || w.hub.Ban("nobody", "", time.Hour) {
		t.Fatal("nobody is here")
	}
	_, welcome = w.enter("bob", `{"type":"hello","token":"bob"}`)
	w.hub.Ban(welcome.str("peer"), strings.Repeat("é", 200), time.Hour)
	again := w.open("bob", nil)
	again.say(`{"type":"hello","token":"bob2"}`)
	again.want(`{"code":"forbidden"}`)
	again.wantClosed(CloseForbidden)
	if _, revoked := ice.counts(); revoked != 1 {
		t.Fatal("who was in no room had nothing to revoke")
	}
	for _, c := range []struct {
		claims creds.Claims
		barred bool
	}{
		{creds.Claims{Name: "bob"}, true},
		{creds.Claims{Name: "bob", Room: "r"}, true},
		{creds.Claims{Name: "bob", Subject: "b"}, false},
		{creds.Claims{Name: "ann"}, false},
		{creds.Claims{}, false},
	} {
		if w.hub.Bars(c.claims, "192.0.2.1") != c.barred {
			t.Errorf("%+v: barred is not %v", c.claims, c.barred)
		}
	}
}

// A ban from one room keeps those out whose token opens no other.
func TestARoomsBanBars(t *testing.T) {
	w := newWorld(t, Options{Auth: tokens{"host": {Name: "host", Perms: []string{"kick"}, Expires: never}, "guest": {Room: "r", Expires: never}}})
	host, _ := w.enter("host", `{"type":"hello","token":"host","room":"r"}`)
	_, welcome := w.enter("guest", `{"type":"hello","token":"guest","room":"r"}`)
	host.want(`{"event":"join"}`)
	const address = "127.0.0.1"
	if w.hub.Bars(creds.Claims{Room: "r"}, address) {
		t.Fatal("barred before the ban")
	}
	host.say(`{"type":"leave","room":"r","peer":"%s","ban":60}`, welcome.str("peer"))
	host.want(`{"event":"leave","reason":"banned"}`)
	for room, barred := range map[string]bool{"r": true, "other": false, "": false} {
		if w.hub.Bars(creds.Claims{Room: room}, address) != barred {
			t.Errorf("a token of room %q: barred is not %v", room, barred)
		}
	}
	if w.hub.Bars(creds.Claims{Room: "r"}, "192.0.2.1") {
		t.Error("another address is barred")
	}
}

func TestLeavingRevokesAndBreakingDoesNot(t *testing.T) {
	for how, want := range map[string]int{"bye": 1, "leave": 1, "cut": 0, "drain": 0} {
		ice := &mint{ttl: time.Hour}
		w := newWorld(t, Options{ICE: ice})
		watcher, _ := w.enter("watcher", `{"type":"hello","room":"r"}`)
		c, _ := w.enter("c", `{"type":"hello","room":"r"}`)
		watcher.want(`{"event":"join"}`)
		switch how {
		case "bye":
			c.say(`{"type":"bye"}`)
			c.wantClosed(CloseNormal)
		case "leave":
			c.say(`{"type":"leave","room":"r"}`)
			c.wantSilence("left")
		case "cut":
			c.cut()
			watcher.want(`{"event":"away"}`)
		case "drain":
			w.hub.Drain(time.Second)
			c.wantClosed(CloseGoing)
		}
		_, revoked := ice.counts()
		for end := time.Now().Add(time.Minute); revoked < want && time.Now().Before(end); _, revoked = ice.counts() {
			time.Sleep(time.Millisecond) // the client may know a moment before
		}
		if revoked != want {
			t.Errorf("%s: revoked %d times, want %d", how, revoked, want)
		}
	}
}

func TestDrain(t *testing.T) {
	w := newWorld(t, Options{})
	waiting := w.open("no hello yet", nil)
	ann, _ := w.enter("ann", `{"type":"hello","room":"r"}`)
	bob, _ := w.enter("bob", `{"type":"hello","room":"r"}`)
	ann.want(`{"event":"join"}`)
	w.hub.Drain(10 * time.Second)
	for _, c := range []*client{ann, bob} {
		f := c.want(`{"type":"going"}`) // and nobody hears the others leave
		if ms := f["retryAfter"].(float64); ms < 10_000 || ms >= 20_000 {
			t.Errorf("retry after %v", ms)
		}
		c.wantClosed(CloseGoing)
	}
	waiting.wantClosed(CloseGoing)
	_, res, err := w.tryOpen("late", nil)
	if err == nil || res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") != "10" {
		t.Fatalf("%v %v", err, res)
	}
	if n := len(w.hub.Members()); n != 0 {
		t.Fatalf("%d members", n)
	}
}

// faulty is an ICE that panics each so many times.
type faulty struct{ calls, every int }

func (f *faulty) Mint(string) ICEServers {
	if f.calls++; f.calls%f.every == 0 {
		panic("the nth one")
	}
	return ICEServers{TTL: time.Hour}
}
func (f *faulty) Revoke(string) {}

// TestAPanicEndsOneSession: the others, even of the same room, go on.
func TestAPanicEndsOneSession(t *testing.T) {
	registry := prometheus.NewRegistry()
	var mu sync.Mutex
	var log bytes.Buffer
	w := newWorld(t, Options{
		ICE: &faulty{every: 2}, Metrics: registry,
		Log: slog.New(slog.NewTextHandler(lockedWriter{&mu, &log}, nil)),
	})
	ann, _ := w.enter("ann", `{"type":"hello","room":"r"}`)
	bob, _ := w.enter("bob", `{"type":"hello"}`)
	bob.say(`{"type":"join","room":"r"}`)
	bob.wantClosed(CloseInternal)
	cat, _ := w.enter("cat", `{"type":"hello","room":"r"}`)
	dan := w.open("dan", nil)
	dan.say(`{"type":"hello","room":"r"}`)
	dan.wantClosed(CloseInternal)
	cat.say(`{"type":"message","to":"#r","data":"still here"}`)
	for {
		if f := ann.hear(); f["type"] == TypeMessage {
			break
		}
	}
	if n := metric(t, registry, "rtcd_signaling_panics_total"); n != 2 {
		t.Fatalf("%v panics counted", n)
	}
	for end := time.Now().Add(time.Minute); len(w.hub.Members()) != 2; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d members are left, want 2", len(w.hub.Members()))
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if !strings.Contains(log.String(), "the nth one") {
		t.Fatalf("not logged: %s", log.String())
	}
}

type lockedWriter struct {
	mu *sync.Mutex
	b  *bytes.Buffer
}

func (w lockedWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

// metric sums the samples of one family.
func metric(t *testing.T, r *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		sum := 0.0
		for _, m := range f.GetMetric() {
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
		return sum
	}
	t.Fatalf("no metric %s", name)
	return 0
}

func TestMetricsReturnToZero(t *testing.T) {
	registry := prometheus.NewRegistry()
	w := newWorld(t, Options{Metrics: registry, Keep: time.Millisecond})
	watcher, _ := w.enter("watcher", `{"type":"hello","room":"r"}`)
	for range 3 {
		c, _ := w.enter("c", `{"type":"hello","room":"r"}`)
		watcher.want(`{"event":"join"}`)
		c.cut()
		watcher.want(`{"event":"away"}`)
		watcher.want(`{"event":"leave"}`)
	}
	watcher.say(`{"type":"bye"}`)
	watcher.wantClosed(CloseNormal)
	for _, name := range []string{"rtcd_signaling_sessions", "rtcd_signaling_sessions_away"} {
		if n := metric(t, registry, name); n != 0 {
			t.Errorf("%s is %v", name, n)
		}
	}
	if n := metric(t, registry, "rtcd_signaling_sessions_closed_total"); n != 4 {
		t.Errorf("%v sessions closed", n)
	}
}

// pad is a Transport as a dialect would bring it.
type pad struct {
	mu     sync.Mutex
	events []*Event
	closed []int
	more   chan struct{}
}

func newPad() *pad { return &pad{more: make(chan struct{}, 1000)} }

func (p *pad) Send(batch []Frame) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range batch {
		p.events = append(p.events, f.Event)
		p.more <- struct{}{}
	}
	return nil
}

func (p *pad) Close(code int, _ string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = append(p.closed, code)
	p.more <- struct{}{}
}

// next waits for one more event.
func (p *pad) next() *Event {
	<-p.more
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.events[0]
	p.events = p.events[1:]
	return e
}

// TestADialectLivesInItsOwnTenant: names are unique there, no room is needed, and
// when the last one is gone the tenant is too.
func TestADialectLivesInItsOwnTenant(t *testing.T) {
	ice := &mint{ttl: time.Hour}
	w := newWorld(t, Options{ICE: ice})
	open := func(user string) (*Session, *pad, error) {
		p := newPad()
		s, err := w.hub.Open(Hello{Tenant: "json/team", Direct: true, User: user, Exclusive: true, Join: Message{Room: "lobby"}}, p)
		return s, p, err
	}
	ann, annPad, err := open("ann")
	if err != nil {
		t.Fatal(err)
	}
	if e := annPad.next(); e.Type != TypeWelcome || e.ICE == nil || len(e.Welcome.Rooms) != 1 {
		t.Fatalf("%+v", e)
	}
	_, _, err = open("ann")
	var refused *Error
	if !errors.As(err, &refused) || refused.Code != CodeTaken {
		t.Fatalf("%v", err)
	}
	bob, bobPad, err := open("bob")
	if err != nil {
		t.Fatal(err)
	}
	bobPad.next()
	if e := annPad.next(); e.Name != EventJoin || e.Peer != bob.Peer() {
		t.Fatalf("%+v", e)
	}
	ann.Apply(Message{Type: TypeSignal, To: "@bob", Kind: "offer", Data: []byte(`{"sdp":1}`)})
	if e := bobPad.next(); e.From != ann.Peer() || e.User != "ann" || string(e.Data) != `{"sdp":1}` {
		t.Fatalf("%+v", e)
	}
	if rooms := w.hub.Rooms(); len(rooms) != 1 || rooms[0].Tenant != "json/team" || len(rooms[0].Members) != 2 {
		t.Fatalf("%+v", rooms)
	}
	bob.End()
	if e := annPad.next(); e.Name != EventLeave || e.Reason != ReasonLeft {
		t.Fatalf("%+v", e)
	}
	ann.End()
	<-annPad.more
	if !slices.Equal(annPad.closed, []int{CloseNormal}) {
		t.Fatalf("closed %v", annPad.closed)
	}
	if _, revoked := ice.counts(); revoked != 0 {
		t.Fatal("a dialect's disconnect ends no allocation")
	}
	if n := len(w.hub.tenants); n != 0 {
		t.Fatalf("%d tenants", n)
	}
}

// TestASessionCountsTheRoomsThatItsTokenOpens: those of its own tenant, and no others.
func TestASessionCountsTheRoomsThatItsTokenOpens(t *testing.T) {
	w := newWorld(t, Options{})
	open := func(tenant, room, only string) *Session {
		s, err := w.hub.Open(Hello{Tenant: tenant, Claims: creds.Claims{Room: only}, Join: Message{Room: room}}, newPad())
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	all := open("app", "a", "")
	open("app", "b", "")
	one := open("app", "b", "b")
	open("other", "c", "")
	if got, want := all.Rooms(), map[string]int{"a": 1, "b": 2}; !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got, want := one.Rooms(), map[string]int{"b": 2}; !maps.Equal(got, want) {
		t.Errorf("with a token for one: %v, want %v", got, want)
	}
}

func TestTwoNodesOnOneBus(t *testing.T) {
	bus := NewLocalBus()
	a, b := newWorld(t, Options{Bus: bus}), newWorld(t, Options{Bus: bus})
	c, welcome := b.enter("c", `{"type":"hello","room":"r"}`)
	if a.hub.Kick(welcome.str("peer"), "from elsewhere") {
		t.Fatal("it is not on that node")
	}
	c.wantClosed(CloseForbidden)
}

func TestLocalBus(t *testing.T) {
	bus := NewLocalBus()
	ctx := context.Background()
	if _, err := bus.Request(ctx, "s", nil); !errors.Is(err, ErrNoAnswer) {
		t.Fatal(err)
	}
	var heard []string
	quiet, _ := bus.Subscribe("s", func(data []byte) []byte { heard = append(heard, "quiet "+string(data)); return nil })
	cancel, _ := bus.Subscribe("s", func(data []byte) []byte { return append([]byte("re "), data...) })
	answer, err := bus.Request(ctx, "s", []byte("1"))
	if err != nil || string(answer) != "re 1" || len(heard) != 1 {
		t.Fatalf("%s %v %v", answer, err, heard)
	}
	cancel()
	quiet()
	if bus.Publish("s", nil); len(heard) != 1 || len(bus.handlers) != 0 {
		t.Fatal("called after cancel")
	}
}
