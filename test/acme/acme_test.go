package acme

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"rtcd/acme"
	"rtcd/mux"
	"rtcd/probe"
	"rtcd/test/lab"
)

// program is rtcd, built once.
var program string

func TestMain(m *testing.M) {
	lab.Main(func(dir string) (code int, err error) {
		if program, err = lab.Build("../..", dir); err != nil {
			return 1, err
		}
		os.Setenv("PEBBLE_VA_NOSLEEP", "1")
		return m.Run(), nil
	})
}

// server is a running rtcd that fetches its certificate.
type server struct {
	*lab.Process
	t                              *testing.T
	http, https, turn, turns, port uint16 // port is admin's
	dir, config                    string
}

const apiKey = "an API key that is long enough for everybody"

// layout says which listeners there are.
type layout struct{ http, https, turns bool }

// newServer chooses ports.
func newServer(t *testing.T, l layout) *server {
	t.Helper()
	s := &server{t: t, dir: t.TempDir(), turn: freePort(t), port: freePort(t)}
	for _, p := range []struct {
		on   bool
		port *uint16
	}{{l.http, &s.http}, {l.https, &s.https}, {l.turns, &s.turns}} {
		if p.on {
			*p.port = freePort(t)
		}
	}
	return s
}

// start starts the program, which asks p.
func (s *server) start(domain string, p *pebble) {
	s.t.Helper()
	at := func(port uint16) string {
		if port == 0 {
			return ""
		}
		return fmt.Sprintf("127.0.0.1:%d", port)
	}
	text, err := json.Marshal(map[string]any{
		"domain": domain, "self_test": 0,
		"listen": map[string]any{"https": at(s.https), "http": at(s.http), "turn": at(s.turn), "turns": at(s.turns), "admin": at(s.port)},
		"tls":    map[string]any{"mode": "acme", "email": "someone@rtc.example.com", "acme": map[string]any{"directory": p.directory, "ca_file": p.caFile}},
		"turn":   map[string]any{"external_ip": "127.0.0.1", "relay_ports": "20000-29999", "api_keys": []string{apiKey}},
		"log":    map[string]any{"level": "debug", "format": "text"},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.config = filepath.Join(s.dir, "config.yaml")
	if err := os.WriteFile(s.config, text, 0o600); err != nil {
		s.t.Fatal(err)
	}
	if s.Process, err = lab.Start(s.command("serve")); err != nil {
		s.t.Fatal(err)
	}
	process := s.Process
	s.t.Cleanup(func() {
		process.Stop()
		if out := process.Output(); s.t.Failed() || strings.Contains(out, "panic") {
			s.t.Errorf("rtcd wrote:\n%s", out)
		}
	})
	if _, err := s.Await(patient(s.t), "serving"); err != nil {
		s.t.Fatal(err)
	}
}

func (s *server) command(args ...string) *exec.Cmd {
	cmd := exec.Command(program, append(args, "--config", s.config)...)
	cmd.Env = append(os.Environ(), "STATE_DIRECTORY="+filepath.Join(s.dir, "state"))
	return cmd
}

// issued waits for the authority's certificate on a port and returns it.
func (s *server) issued(port uint16, name string, p *pebble) (leaf *x509.Certificate) {
	s.t.Helper()
	eventually(s.t, "a certificate that the authority vouches for", func() bool {
		select {
		case <-s.Ended():
			s.t.Fatal("rtcd has ended")
		default:
		}
		nc, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port), &tls.Config{RootCAs: p.roots, ServerName: name})
		if err != nil {
			return false
		}
		defer nc.Close()
		leaf = nc.ConnectionState().PeerCertificates[0]
		return true
	})
	return leaf
}

// iceServers are the TURN URLs that the API hands out, with a pair; without a pool any certificate will do.
func (s *server) iceServers(name string, roots *x509.CertPool) (urls []string, user, password string) {
	s.t.Helper()
	base, port := "http://", s.http
	if s.https != 0 {
		base, port = "https://", s.https
	}
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: name, InsecureSkipVerify: roots == nil},
	}}
	req, err := http.NewRequestWithContext(patient(s.t), http.MethodGet, fmt.Sprintf("%s127.0.0.1:%d/api/v1/ice-servers", base, port), nil)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+apiKey)
	res, err := client.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	var got struct {
		ICEServers []struct {
			URLs                 []string
			Username, Credential string
		} `json:"iceServers"`
	}
	if err := json.NewDecoder(res.Body).Decode(&got); err != nil {
		s.t.Fatal(err)
	}
	for _, e := range got.ICEServers {
		if e.Username != "" {
			urls, user, password = e.URLs, e.Username, e.Credential
		}
	}
	return urls, user, password
}

// metric reads one from the admin listener, -1 if it is not there.
func (s *server) metric(name string) float64 {
	s.t.Helper()
	res, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/metrics", s.port))
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	text, _ := io.ReadAll(res.Body)
	m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + ` (\S+)$`).FindSubmatch(text)
	if m == nil {
		return -1
	}
	var v float64
	fmt.Sscan(string(m[1]), &v)
	return v
}

// check is what `rtcd check` says about tls.
func (s *server) check() string {
	out, _ := s.command("check", "--json").Output() // other rows may fail
	var got struct {
		Rows []struct{ Status, About, Detail, Remedy string }
	}
	if err := json.Unmarshal(out, &got); err != nil {
		s.t.Fatalf("%v: %s", err, out)
	}
	for _, r := range got.Rows {
		if r.About == "tls" {
			return r.Status + ": " + r.Detail + " → " + r.Remedy
		}
	}
	s.t.Fatalf("no row about tls: %s", out)
	return ""
}

const expiry = `rtcd_tls_certificate_expiry_timestamp_seconds{domain="rtc.example.com"}`

// A certificate comes by HTTP-01, on a port that HTTP shares with TURN; turns: is handed out
// then, and works.
func TestHTTP01(t *testing.T) {
	t.Parallel()
	s := newServer(t, layout{http: true, turns: true})
	p := startPebble(t, s.http, freePort(t), 90*day)
	s.start("rtc.example.com", p)
	leaf := s.issued(s.turns, "rtc.example.com", p)
	if got := s.metric(expiry); got != float64(leaf.NotAfter.Unix()) {
		t.Errorf("expiry %v, want %v", got, leaf.NotAfter.Unix())
	}
	s.wantTurns("rtc.example.com", s.turns, p)
	if row := s.check(); !strings.HasPrefix(row, "ok: acme, valid until") {
		t.Error(row)
	}
}

// wantTurns waits for the URL and uses it.
func (s *server) wantTurns(host string, port uint16, p *pebble) {
	s.t.Helper()
	url := fmt.Sprintf("turns:%s?transport=tcp", net.JoinHostPort(host, fmt.Sprint(port)))
	var urls []string
	var user, password string
	eventually(s.t, url+" is handed out", func() bool {
		urls, user, password = s.iceServers(host, p.roots)
		return len(urls) > 0 && urls[0] == url
	})
	target, err := probe.ParseURL(url)
	if err != nil {
		s.t.Fatal(err)
	}
	r := probe.Run(patient(s.t), target, probe.Options{Username: user, Credential: password, Address: "127.0.0.1", Packets: 5, Roots: p.roots})
	if !r.OK {
		s.t.Errorf("%s: %+v", url, r.Problem)
	}
}

// A certificate comes by TLS-ALPN-01 on the port that HTTPS, WebSocket and TURN share, with no
// other port open. A restart needs no authority.
func TestTLSALPN01(t *testing.T) {
	t.Parallel()
	s := newServer(t, layout{https: true})
	p := startPebble(t, freePort(t), s.https, 90*day)
	s.start("rtc.example.com", p)
	first := s.issued(s.https, "rtc.example.com", p)
	if first.VerifyHostname("rtc.example.com") != nil {
		t.Errorf("for %v", first.DNSNames)
	}
	p.stop()
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
	s.start("rtc.example.com", p)
	if urls, _, _ := s.iceServers("rtc.example.com", p.roots); len(urls) == 0 || urls[0] != fmt.Sprintf("turn:rtc.example.com:%d?transport=udp", s.turn) && !strings.HasPrefix(urls[0], "turns:") {
		t.Errorf("after a restart: %v", urls)
	}
	if again := s.issued(s.https, "rtc.example.com", p); again.SerialNumber.Cmp(first.SerialNumber) != 0 {
		t.Error("after a restart another certificate")
	}
	if row := s.check(); !strings.HasPrefix(row, "ok: acme, valid until") {
		t.Error(row)
	}
}

// An address gets a certificate too, by either way, of the profile that Let's Encrypt gives
// for addresses.
func TestCertificateForAnAddress(t *testing.T) {
	t.Parallel()
	for _, l := range []layout{{https: true}, {http: true, https: true}} {
		s := newServer(t, l)
		tlsPort := s.https
		if l.http {
			tlsPort = freePort(t) // closed: only HTTP-01 is left
		}
		p := startPebble(t, s.http, tlsPort, 90*day)
		s.start("127.0.0.1", p)
		leaf := s.issued(s.https, "127.0.0.1", p)
		if life := leaf.NotAfter.Sub(leaf.NotBefore).Round(time.Hour); life != 160*time.Hour || len(leaf.IPAddresses) != 1 {
			t.Errorf("good for %v, for %v", life, leaf.IPAddresses)
		}
		// Over the network's port, as a browser would.
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: p.roots}, ForceAttemptHTTP2: true}}
		res, err := client.Get(fmt.Sprintf("https://127.0.0.1:%d/", s.https))
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		client.CloseIdleConnections()
		if res.ProtoMajor != 2 || res.StatusCode != http.StatusOK {
			t.Errorf("%s %s", res.Proto, res.Status)
		}
	}
}

// The start does not wait for the authority: until it answers there is a self-signed
// certificate, turns: is not handed out, and the log says what to do.
func TestStartWithoutAuthority(t *testing.T) {
	t.Parallel()
	s := newServer(t, layout{http: true, https: true, turns: true})
	p := startPebble(t, s.http, s.https, 90*day)
	p.stop()
	s.start("rtc.example.com", p)
	nc, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", s.https), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	if issuer := nc.ConnectionState().PeerCertificates[0].Issuer.String(); !strings.Contains(issuer, "rtcd self-signed") {
		t.Errorf("issued by %s", issuer)
	}
	nc.Close()
	if urls, _, _ := s.iceServers("rtc.example.com", nil); len(urls) == 0 || strings.Contains(strings.Join(urls, " "), "turns:") {
		t.Errorf("handed out: %v", urls)
	}
	line, err := s.Await(patient(t), `level=WARN msg="no certificate.*`)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"self-signed one is in use", "connection refused", "TCP port 80 or port 443", "rtc.example.com", "it is tried again"} {
		if !strings.Contains(line[0], want) {
			t.Errorf("the log does not say %q: %s", want, line[0])
		}
	}
	for _, name := range []string{"rtc.example.com", "localhost"} {
		if got := s.metric(fmt.Sprintf(`rtcd_tls_certificate_expiry_timestamp_seconds{domain="%s"}`, name)); got != -1 {
			t.Errorf("the expiry of %s is told: %v", name, got)
		}
	}
	if s.metric("rtcd_acme_failures_total") < 1 {
		t.Error("the failure is not counted")
	}
	if row := s.check(); !strings.HasPrefix(row, "fail: acme: no certificate has come yet") || !strings.Contains(row, "port 80 or port 443") {
		t.Error(row)
	}
}

// A certificate is renewed before it ends, while the old one serves; who watches hears of it.
func TestRenewal(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := ln.Addr().(*net.TCPAddr).AddrPort()
	const life = 12 // seconds
	p := startPebble(t, freePort(t), at.Port(), life)
	key, err := self(t)
	if err != nil {
		t.Fatal(err)
	}
	o := acme.Options{
		Name: "rtc.example.com", Dir: t.TempDir(), Directory: p.directory, Roots: p.vouch,
		Logger: logger(), TLS: at, Check: 200 * time.Millisecond, Profile: "default",
		Placeholder: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return key, nil },
	}
	if _, err := acme.Stored(o); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("stored before there is one: %v", err)
	}
	source, err := acme.New(o)
	if err != nil {
		t.Fatal(err)
	}
	port := mux.New(ln, mux.Options{
		TLS:  &tls.Config{GetCertificate: source.Get, NextProtos: []string{acme.Protocol}},
		TURN: func(c mux.Client) { c.Conn.Close() }, Logger: o.Logger,
	})
	var wg sync.WaitGroup
	wg.Go(func() { (&http.Server{Handler: http.NotFoundHandler()}).Serve(port) })
	var changes atomic.Int32
	ctx, stop := context.WithCancel(t.Context())
	wg.Go(func() { source.Run(ctx, func() { changes.Add(1) }) })
	defer func() { stop(); port.Close(); wg.Wait() }()

	var serials []string
	eventually(t, "another certificate, without a gap", func() bool {
		nc, err := tls.Dial("tcp", at.String(), &tls.Config{RootCAs: p.roots, ServerName: "rtc.example.com"})
		if err != nil {
			if len(serials) > 0 {
				t.Fatalf("after %d certificates: %v", len(serials), err)
			}
			return false
		}
		serial := nc.ConnectionState().PeerCertificates[0].SerialNumber.String()
		nc.Close()
		if len(serials) == 0 || serials[len(serials)-1] != serial {
			serials = append(serials, serial)
		}
		return len(serials) == 2
	})
	eventually(t, "who watches has heard", func() bool { return changes.Load() >= 2 })
	chain, err := acme.Stored(o)
	if err != nil || len(chain) < 2 || chain[0].VerifyHostname("rtc.example.com") != nil {
		t.Errorf("stored: %d certificates, %v", len(chain), err)
	}
}

func logger() *slog.Logger {
	if testing.Verbose() {
		return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	return slog.New(slog.DiscardHandler)
}

// self is a certificate to stand in.
func self(t *testing.T) (*tls.Certificate, error) {
	t.Helper()
	own, err := lab.NewCA(t.TempDir())
	if err != nil {
		return nil, err
	}
	certFile, keyFile, err := own.Issue([]string{"stand-in"}, netip.MustParseAddr("127.0.0.1"))
	if err != nil {
		return nil, err
	}
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	return &pair, err
}
