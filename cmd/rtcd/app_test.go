package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gorilla/websocket"
	"github.com/pion/stun/v3"
	"github.com/pion/turn/v4"

	"rtcd/config"
	"rtcd/creds"
	"rtcd/probe"
	"rtcd/signaling"
	"rtcd/turnsrv/relay"
)

func loadText(t *testing.T, text string) *config.Loaded {
	t.Helper()
	c, err := config.Load(config.Input{File: filepath.Join(t.TempDir(), "config.yaml"), Data: []byte(text)})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// loopback serves everything on free ports of this machine. UDP and TCP share the
// TURN port, so that one is chosen here.
func loopback(t *testing.T) string {
	t.Helper()
	port, err := findPort()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf(`
domain: 127.0.0.1
listen: {https: "127.0.0.1:0", http: "127.0.0.1:0", turn: "127.0.0.1:%d", turns: "127.0.0.1:0", admin: "127.0.0.1:0"}
turn: {external_ip: 127.0.0.1, relay_ports: 20000-29999, port_rest: 0}
self_test: 0
`, port)
}

// findPort finds a port that is free over TCP and UDP, and that the system gives to nobody
// who asks for any: else another listener of the same configuration might get it.
func findPort() (int, error) {
	for range 100 {
		port := 10_000 + rand.N(10_000)
		at := fmt.Sprintf("127.0.0.1:%d", port)
		l, err := net.Listen("tcp4", at)
		if err != nil {
			continue
		}
		p, err := net.ListenPacket("udp4", at)
		l.Close()
		if err != nil {
			continue
		}
		p.Close()
		return port, nil
	}
	return 0, errors.New("no free port")
}

// running is an app that serves on loopback until the test ends it.
type running struct {
	*app
	t       *testing.T
	file    string // the configuration
	text    string // what is in it at first
	roots   *x509.CertPool
	signals chan os.Signal
	ended   chan error
	clients []io.Closer // who would have the end wait for their close frames
}

func startApp(t *testing.T, log io.Writer) *running {
	t.Helper()
	return startWith(t, log, "", func(*app) {})
}

// startWith starts an app with more configuration, and changed before it serves.
func startWith(t *testing.T, log io.Writer, more string, change func(*app)) *running {
	t.Helper()
	r := newRunning(t, log, loopback(t)+more, lookup)
	change(r.app)
	r.serve()
	return r
}

// newRunning makes an app from a file with the text.
func newRunning(t *testing.T, log io.Writer, text string, lookup lookupFunc) *running {
	t.Helper()
	t.Setenv("STATE_DIRECTORY", t.TempDir())
	level := new(slog.LevelVar)
	level.Set(slog.LevelDebug)
	file := filepath.Join(t.TempDir(), "config.yaml")
	load := func(data []byte) (*config.Loaded, error) { return config.Load(config.Input{File: file, Data: data}) }
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := load(nil)
	if err != nil {
		t.Fatal(err)
	}
	a, err := newApp(t.Context(), setup{
		config: c, log: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: level})), level: level,
		lookup: lookup, load: load,
	})
	if err != nil {
		t.Fatal(err)
	}
	cert, err := a.cert.get(nil)
	if err != nil {
		t.Fatal(err)
	}
	r := &running{app: a, t: t, file: file, text: text, roots: x509.NewCertPool(), signals: make(chan os.Signal, 2), ended: make(chan error, 1)}
	r.roots.AddCert(cert.Leaf)
	return r
}

func (r *running) serve() {
	// The test owns it; end ends it.
	go func() { r.ended <- r.life.runWith(r.signals, r.services()...) }()
}

// end interrupts the process.
func (r *running) end() {
	r.t.Helper()
	for _, c := range r.clients {
		c.Close()
	}
	r.signals <- os.Interrupt
	r.wantEnded()
}

// wantEnded waits for the process to end, and wants that it leaves nothing behind.
func (r *running) wantEnded() {
	r.t.Helper()
	if err := <-r.ended; err != nil {
		r.t.Error(err)
	}
	if left := leftBehind(); left != "" {
		r.t.Errorf("goroutines are left:\n%s", left)
	}
}

// A whole process starts, relays over every transport, and leaves nothing behind.
func TestWholeProcess(t *testing.T) {
	var log bytes.Buffer
	a := startApp(t, &log)
	pair := a.keys.Issue("alice", time.Hour, time.Now())
	urls := append([]string{}, a.minter().turn...)
	urls = append(urls, "turns:"+a.turn.Addrs(relay.TLS)[0].String(), "turns:"+a.turn.Addrs(relay.DTLS)[0].String()+"?transport=udp")
	web := a.https.listeners[0].Addr().String() // the same port, for all that it is for
	urls = append(urls, "turns:"+web, "turn:"+web, "turn:"+a.http.listeners[0].Addr().String()+"?transport=tcp")
	for _, u := range urls {
		target, err := probe.ParseURL(u)
		if err != nil {
			t.Fatal(err)
		}
		r := probe.Run(t.Context(), target, probe.Options{
			Username: pair.Username, Credential: pair.Password, Packets: 5, Interval: time.Millisecond, Roots: a.roots,
		})
		if !r.OK {
			t.Errorf("%s: %+v", u, r.Problem)
		}
	}
	a.end()
	if n := strings.Count(log.String(), "allocation closed"); n != 2*len(urls) {
		t.Errorf("%d closed allocations in the log, want %d", n, 2*len(urls))
	}
	if strings.Contains(log.String(), pair.Password) {
		t.Error("a password is in the log")
	}
}

// A member gets its credentials from the hub; when it has left or was put out, they are worth
// nothing, and its allocation has ended.
func TestMemberLosesTheRelay(t *testing.T) {
	t.Run("bye", func(t *testing.T) {
		memberLosesTheRelay(t, func(_ *running, _ string, socket *websocket.Conn) error {
			return socket.WriteJSON(map[string]string{"type": "bye"})
		})
	})
	t.Run("put out", func(t *testing.T) {
		memberLosesTheRelay(t, func(a *running, peer string, _ *websocket.Conn) error {
			if !a.hub.Kick(peer, "") {
				return errors.New("nobody was put out")
			}
			return nil
		})
	})
}

func memberLosesTheRelay(t *testing.T, leave func(a *running, peer string, socket *websocket.Conn) error) {
	a := startApp(t, io.Discard)
	defer a.end()
	token, err := a.tokens.Sign(creds.Claims{Room: "lobby", Expires: time.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	dialer := websocket.Dialer{TLSClientConfig: &tls.Config{RootCAs: a.roots}, Subprotocols: []string{signaling.Subprotocol}}
	// Any path will do for the native protocol.
	socket, answer, err := dialer.DialContext(t.Context(), "wss://"+a.https.listeners[0].Addr().String()+"/any", nil)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	defer socket.Close()
	if err := socket.WriteJSON(map[string]string{"type": "hello", "token": token, "room": "lobby"}); err != nil {
		t.Fatal(err)
	}
	var welcome struct {
		Type, Peer string
		ICE        struct{ ICEServers []signaling.ICEServer }
	}
	if err := socket.ReadJSON(&welcome); err != nil || welcome.Type != "welcome" || len(welcome.ICE.ICEServers) != 2 {
		t.Fatalf("%+v %v", welcome, err)
	}
	credentials := welcome.ICE.ICEServers[1]
	if err := a.allocate(credentials); err != nil {
		t.Fatal(err)
	}
	if n := a.turn.Len(); n != 1 {
		t.Fatalf("%d allocations, want 1", n)
	}
	if err := leave(a, welcome.Peer, socket); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); a.turn.Len() != 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the allocation outlives its member")
		}
	}
	var refusal *stun.TurnError
	if err := a.allocate(credentials); !errors.As(err, &refusal) || refusal.ErrorCodeAttr.Code != stun.CodeUnauthorized {
		t.Errorf("with the credentials of one who left: %v", err)
	}
}

// allocate makes an allocation and keeps it until the test ends.
func (r *running) allocate(server signaling.ICEServer) error {
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	address := r.turn.Addrs(relay.UDP)[0].String()
	client, err := turn.NewClient(&turn.ClientConfig{
		STUNServerAddr: address, TURNServerAddr: address, Conn: conn,
		Username: server.Username, Password: server.Credential,
	})
	if err != nil {
		return err
	}
	r.t.Cleanup(func() { client.Close(); conn.Close() })
	if err := client.Listen(); err != nil {
		return err
	}
	_, err = client.Allocate()
	return err
}

// leftBehind waits for our goroutines to end and returns those that do not.
func leftBehind() string {
	deadline := time.Now().Add(time.Minute)
	for {
		buf := make([]byte, 1<<20)
		var left []string
		for _, g := range strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
			ours := strings.Contains(g, "rtcd/turnsrv") || strings.Contains(g, "rtcd/signaling") || strings.Contains(g, "rtcd/cmd/rtcd.(*") || strings.Contains(g, "net/http.(*Server)")
			if ours && !strings.Contains(g, "leftBehind") && !strings.Contains(g, "testing.(*T).Run") {
				left = append(left, g)
			}
		}
		if len(left) == 0 || time.Now().After(deadline) {
			return strings.Join(left, "\n\n")
		}
		time.Sleep(10 * time.Millisecond) // between two looks
	}
}

// killed records whose allocations were ended.
type killed []string

func (k *killed) KillUser(user, _ string) int { *k = append(*k, user); return 1 }

func TestMinter(t *testing.T) {
	keys, err := creds.NewKeys(creds.KeysOptions{Secrets: []string{newSecret()}})
	if err != nil {
		t.Fatal(err)
	}
	var dead killed
	var hub signaling.ICE
	for peer, restrict := range map[string]bool{"peer1": false, "peer2": true} {
		dead = nil
		hub = &minter{keys: keys, stun: []string{"stun:a"}, turn: []string{"turn:a"}, ttl: time.Hour, restrict: restrict, relay: &dead, log: discard()}
		ice := hub.Mint(peer)
		turn := ice.Servers[1]
		login, match := keys.Verify(turn.Username, turn.Credential, time.Now())
		relayOnly, _ := creds.Restricted(login.User)
		if !match || login.Verdict != creds.OK || relayOnly != restrict || ice.TTL != time.Hour {
			t.Errorf("restrict %t: %+v, %t", restrict, login, match)
		}
		hub.Revoke(peer)
		if v := keys.Lookup(turn.Username, time.Now()).Verdict; v != creds.Revoked {
			t.Errorf("restrict %t: after Revoke %v", restrict, v)
		}
		other := peer // what it was if a reload changed that
		if !restrict {
			other = creds.PrefixRestricted + other
		}
		if diff := cmp.Diff(killed{login.User, other}, dead); diff != "" {
			t.Error(diff)
		}
	}
}

func TestRestricts(t *testing.T) {
	public := []external{{RelayIP: relay.RelayIP{Public: netip.MustParseAddr("8.8.8.8")}}}
	home := []external{{RelayIP: relay.RelayIP{Public: netip.MustParseAddr("192.168.1.5")}}, {RelayIP: relay.RelayIP{Public: netip.MustParseAddr("100.64.3.4")}}}
	for text, want := range map[string][2]bool{
		"":                                      {false, false},
		"signaling: {auth: none}":               {true, false},
		"signaling: {auth: none, public: true}": {false, false},
	} {
		c := loadText(t, text)
		if got := [2]bool{restricts(c, public), restricts(c, home)}; got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

// A hub for everybody on a public address is told at start, unless it is meant.
func TestOpenHubOnAPublicAddressIsTold(t *testing.T) {
	for more, told := range map[string]bool{
		"": false, "signaling: {auth: none}\n": true, "signaling: {auth: none, public: true}\n": false,
	} {
		var log logBook
		text := strings.Replace(loopback(t), "external_ip: 127.0.0.1", "external_ip: 8.8.8.8", 1) + more
		r := newRunning(t, &log, text, lookup)
		r.close()
		if got := strings.Contains(log.String(), "signaling.auth is none on a public address"); got != told || r.minter().restrict != told {
			t.Errorf("%q: told %t, credentials restricted %t, want %t", more, got, r.minter().restrict, told)
		}
	}
}

// In the file 0 means unlimited, in Go options it means the default.
func TestZeroIsUnlimited(t *testing.T) {
	c := loadText(t, `
turn:
  port_rest: 0
  peers: {deny: []}
  limits: {allocations_per_user: 0, allocations_per_ip: 0, bandwidth_per_allocation: 0, permissions: 0, channels: 0,
           new_peers_per_allocation: 0, unauthenticated_per_ip: 0, failed_logins_per_ip: 0, connections_per_ip: 0}
signaling: {max_members: 0, limits: {message_bytes: 0, messages: 0, burst: 0, queue: 0}}
`)
	got := policyOf(c, nil)
	none := relay.Rate{N: -1}
	want := relay.Policy{
		MinPort: 49152, MaxPort: 65535, PortRest: -1, Allow: []netip.Prefix{}, Deny: []netip.Prefix{},
		Limits: relay.Limits{
			AllocationsPerUser: -1, AllocationsPerIP: -1, Allocations: -1, Permissions: -1, Channels: -1,
			Bandwidth: -1, Packets: -1, Unauthenticated: none, FailedLogins: none, NewPeers: none,
		},
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
	huge := math.MaxInt32
	if diff := cmp.Diff(signaling.Limits{
		MessageBytes: huge, Rate: float64(huge), Burst: huge, Queue: huge, Members: huge, ByteRate: huge, ByteBurst: huge,
	}, hubLimits(c)); diff != "" {
		t.Error(diff)
	}
	if got := connectionLimits(c).ConnectionsPerIP; got != huge {
		t.Errorf("connections: %d", got)
	}
	defaults := policyOf(loadText(t, ""), nil)
	if len(defaults.Deny) != len(relay.RecommendedDeny()) || defaults.Limits.Bandwidth != 20_000_000 {
		t.Errorf("%+v", defaults)
	}
}

// The realm is the domain, unless it makes answers to strangers too long.
func TestRealm(t *testing.T) {
	long := strings.Repeat("a.", relay.MaxRealm/2)[:relay.MaxRealm-1]
	for text, want := range map[string]string{
		"": "rtcd", "domain: rtc.example.com": "rtc.example.com", "domain: x" + long: "x" + long, "domain: xx" + long: "rtcd",
		"{domain: rtc.example.com, turn: {realm: " + "x" + long + "}}": "x" + long,
	} {
		if got := realm(loadText(t, text)); got != want {
			t.Errorf("%s: realm %q, want %q", text, got, want)
		}
	}
	if _, err := config.Load(config.Input{File: "c", Data: []byte("turn: {realm: xx" + long + "}")}); err == nil {
		t.Error("a realm is admitted that the relay refuses")
	}
}

func TestICEURLs(t *testing.T) {
	both := []external{
		{RelayIP: relay.RelayIP{Public: netip.MustParseAddr("203.0.113.5")}},
		{RelayIP: relay.RelayIP{Public: netip.MustParseAddr("2001:db8::5")}},
	}
	files := "listen: {turns: ':5349'}\ntls: {cert_file: a, key_file: b}\n"
	for text, want := range map[string]string{
		"": "stun:203.0.113.5:3478 stun:[2001:db8::5]:3478 | turn:203.0.113.5:3478?transport=udp turn:203.0.113.5:3478?transport=tcp " +
			"turn:[2001:db8::5]:3478?transport=udp turn:[2001:db8::5]:3478?transport=tcp",
		"domain: a.example\n" + files: "stun:a.example:3478 | turns:a.example:5349?transport=tcp turn:a.example:3478?transport=udp turn:a.example:3478?transport=tcp",
		// One of each transport, TLS on the web's port where it can be; UDP there too.
		"domain: a.example\ntls: {cert_file: a, key_file: b}\nlisten: {https: ':443', turns: ':5349'}": "stun:a.example:3478 | " +
			"turns:a.example:443?transport=tcp turn:a.example:3478?transport=udp turn:a.example:3478?transport=tcp turn:a.example:443?transport=udp",
		"domain: a.example\ntls: {cert_file: a, key_file: b}\nlisten: {https: ':443', turns: '', turn: [':3478', ':53']}": "stun:a.example:3478 stun:a.example:53 | " +
			"turns:a.example:443?transport=tcp turn:a.example:3478?transport=udp turn:a.example:3478?transport=tcp turn:a.example:53?transport=udp turn:a.example:53?transport=tcp turn:a.example:443?transport=udp",
		"domain: a.example\ntls: {cert_file: a, key_file: b}\nlisten: {https: ':443', http: ':80', turn: '', turns: ''}": "stun:a.example:443 | " +
			"turns:a.example:443?transport=tcp turn:a.example:443?transport=udp",
		"domain: a.example\ntls: {cert_file: a, key_file: b}\nlisten: {https: ':8443', turns: ':5349'}": "stun:a.example:3478 | " +
			"turns:a.example:5349?transport=tcp turn:a.example:3478?transport=udp turn:a.example:3478?transport=tcp",
		"domain: a.example\ntls: {mode: self-signed}\nlisten: {https: ':443', http: ':80', turn: '', turns: ':5349'}": "stun:a.example:443 | " +
			"turn:a.example:443?transport=udp turn:a.example:80?transport=tcp",
		// The site is on another address than the relay.
		"domain: a.example\ntls: {cert_file: a, key_file: b}\nlisten: {https: '192.0.2.1:443', turn: '192.0.2.2:3478', turns: '192.0.2.2:5349'}": "stun:a.example:3478 | " +
			"turns:a.example:5349?transport=tcp turn:a.example:3478?transport=udp turn:a.example:3478?transport=tcp",
		"domain: a.example\ntls: {cert_file: a, key_file: b}\nlisten: {https: '192.0.2.2:443', turn: '192.0.2.2:3478', turns: '192.0.2.2:5349'}": "stun:a.example:3478 | " +
			"turns:a.example:443?transport=tcp turn:a.example:3478?transport=udp turn:a.example:3478?transport=tcp turn:a.example:443?transport=udp",
		"domain: a.example\nlisten: {http: ':8080', turn: ''}":                                      " | turn:a.example:8080?transport=tcp",
		"domain: a.example\nlisten: {turns: ':5349', turn: '', http: ''}\ntls: {mode: self-signed}": " | ",
		"domain: 2001:db8::7\nlisten: {turn: [':3478', '127.0.0.1:3478', ':53'], turns: ''}": "stun:[2001:db8::7]:3478 stun:[2001:db8::7]:53 | " +
			"turn:[2001:db8::7]:3478?transport=udp turn:[2001:db8::7]:3478?transport=tcp turn:[2001:db8::7]:53?transport=udp turn:[2001:db8::7]:53?transport=tcp",
	} {
		c := loadText(t, text)
		stun, turn := iceURLs(c, configuredEndpoints(c), both)
		if got := strings.Join(stun, " ") + " | " + strings.Join(turn, " "); got != want {
			t.Errorf("%q:\n got %s\nwant %s", text, got, want)
		}
	}
}

func TestExternals(t *testing.T) {
	list := func(entries ...config.ExternalIP) []external {
		t.Helper()
		c := loadText(t, "")
		c.Turn.ExternalIP = entries
		out, err := externals(context.Background(), c)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	auto := list(config.ExternalAuto)
	if len(auto) == 0 || !auto[0].Public.Is4() || auto[0].Local != auto[0].Public || auto[0].Why == "" {
		t.Fatalf("auto: %+v", auto)
	}
	// An address that this machine does not have is behind NAT.
	nat := list("198.51.100.7")
	if len(nat) != 1 || nat[0].Local != auto[0].Local || !strings.Contains(nat[0].Why, "NATed to") {
		t.Errorf("NAT: %+v", nat)
	}
	// What is written wins over what is found, of the same family only.
	mixed := list(config.ExternalAuto, "198.51.100.7")
	if mixed[0].Public.String() != "198.51.100.7" || len(mixed) != len(auto) {
		t.Errorf("mixed: %+v", mixed)
	}
	own := list("127.0.0.1")
	if len(own) != 1 || own[0].Local != own[0].Public {
		t.Errorf("own: %+v", own)
	}
	if got := list("dns:localhost"); len(got) == 0 || !got[0].Public.IsLoopback() || got[0].Why != "dns:localhost" {
		t.Errorf("dns: %+v", got)
	}
	if got := list(); len(got) != 0 {
		t.Errorf("none: %+v", got)
	}
}

func TestRedirectKeepsTheAddress(t *testing.T) {
	for _, c := range []struct {
		port                int
		host, target, where string
	}{
		{443, "rtc.example.com", "/apps/call?x=1", "https://rtc.example.com/apps/call?x=1"},
		{8443, "rtc.example.com:8080", "/", "https://rtc.example.com:8443/"},
		{443, "[2001:db8::1]:80", "/", "https://[2001:db8::1]/"},
	} {
		r := httptest.NewRequest(http.MethodGet, c.target, nil)
		r.Host = c.host
		w := httptest.NewRecorder()
		redirect(c.port).ServeHTTP(w, r)
		if got := w.Header().Get("Location"); got != c.where || w.Code != 308 {
			t.Errorf("%s%s: %d %s", c.host, c.target, w.Code, got)
		}
	}
}

func TestSelfSignedIsKeptAndRenewed(t *testing.T) {
	t.Setenv("STATE_DIRECTORY", t.TempDir())
	now := time.Now()
	serial := func(domain string, at time.Time) string {
		t.Helper()
		c := loadText(t, "domain: "+domain+"\nlisten: {https: ':443'}")
		cert, err := selfSigned(c, nil, at)
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := x509.ParseCertificate(cert.Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{domain, "localhost", "127.0.0.1", "::1"} {
			if err := leaf.VerifyHostname(name); err != nil {
				t.Error(err)
			}
		}
		return leaf.SerialNumber.String()
	}
	first := serial("box.lan", now)
	if serial("box.lan", now) != first {
		t.Error("made anew without a reason")
	}
	second := serial("other.lan", now)
	if second == first {
		t.Error("not made anew for another name")
	}
	if serial("other.lan", now.AddDate(1, 0, 10)) == second {
		t.Error("not made anew before its end")
	}
}

func TestStateIsMadeOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	results := make(chan string, 8)
	for range cap(results) {
		go func() {
			s, err := loadOrCreate(filepath.Join(dir, "secret"))
			if err != nil {
				t.Error(err)
				s = []string{""}
			}
			results <- s[0]
		}()
	}
	first := <-results
	for range cap(results) - 1 {
		if s := <-results; s != first || len(s) != 64 {
			t.Errorf("%q and %q", first, s)
		}
	}
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v %v", info, err)
	}
	left, _ := filepath.Glob(filepath.Join(dir, ".*"))
	if len(left) != 0 {
		t.Errorf("temporary files are left: %q", left)
	}
}

func TestSystemdCredential(t *testing.T) {
	t.Setenv("STATE_DIRECTORY", t.TempDir())
	dir := t.TempDir()
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	secret := newSecret()
	if err := os.WriteFile(filepath.Join(dir, turnSecretFile), []byte(secret+"\n"), 0o400); err != nil {
		t.Fatal(err)
	}
	s, err := loadSecrets(loadText(t, ""))
	if err != nil || s.turn[0] != secret || s.token[0] == secret {
		t.Errorf("%+v %v", s, err)
	}
}

func TestMatchesOrigin(t *testing.T) {
	for _, c := range []struct {
		entry, origin string
		want          bool
	}{
		{"*", "https://a.example", true},
		{"self", "https://a.example", false},
		{"https://a.example", "https://a.example", true},
		{"https://a.example", "http://a.example", false},
		{"https://a.example", "https://a.example:8443", false},
		{"https://*.a.example", "https://b.a.example", true},
		{"https://*.a.example", "https://a.example", false},
		{"https://*.a.example", "https://evil-a.example", false},
		{"https://*.a.example", "http://b.a.example", false},
	} {
		if got := matchesOrigin(c.entry, c.origin); got != c.want {
			t.Errorf("%s, %s: %t", c.entry, c.origin, got)
		}
	}
}
