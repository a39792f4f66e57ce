package probe

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/pion/logging"
	"github.com/pion/stun/v3"
	"github.com/pion/turn/v4"
)

// TestMain fails when a probe leaves a goroutine behind.
func TestMain(m *testing.M) {
	code := m.Run()
	if code == 0 {
		if left := leftBehind(); left != "" {
			os.Stderr.WriteString("goroutines of probes are left:\n" + left)
			code = 1
		}
	}
	os.Exit(code)
}

// leftBehind waits for the goroutines of this package and the client's to end and
// returns those that do not.
func leftBehind() string {
	deadline := time.Now().Add(time.Minute)
	for {
		buf := make([]byte, 1<<20)
		var left []string
		for _, g := range strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
			if strings.Contains(g, "rtcd/probe") && !strings.Contains(g, "leftBehind") {
				left = append(left, g)
			}
		}
		if len(left) == 0 || time.Now().After(deadline) {
			return strings.Join(left, "\n\n")
		}
		time.Sleep(10 * time.Millisecond) // between two looks
	}
}

func TestParseURL(t *testing.T) {
	for s, want := range map[string]Target{
		"stun:a.example":                      {"stun:a.example", false, "a.example", 3478, "udp"},
		"stun:a.example:19302":                {"stun:a.example:19302", false, "a.example", 19302, "udp"},
		"turn:a.example":                      {"turn:a.example", true, "a.example", 3478, "udp"},
		"turn:192.0.2.1:3479?transport=udp":   {"turn:192.0.2.1:3479?transport=udp", true, "192.0.2.1", 3479, "udp"},
		"turn:a.example:80?transport=tcp":     {"turn:a.example:80?transport=tcp", true, "a.example", 80, "tcp"},
		"turns:a.example":                     {"turns:a.example", true, "a.example", 5349, "tls"},
		"turns:a.example:443?transport=tcp":   {"turns:a.example:443?transport=tcp", true, "a.example", 443, "tls"},
		"turns:a.example?transport=udp":       {"turns:a.example?transport=udp", true, "a.example", 5349, "dtls"},
		"turn:[2001:db8::1]:3478":             {"turn:[2001:db8::1]:3478", true, "2001:db8::1", 3478, "udp"},
		"turn:[2001:db8::1]?transport=tcp":    {"turn:[2001:db8::1]?transport=tcp", true, "2001:db8::1", 3478, "tcp"},
		"TURN://a.example:3478?transport=udp": {"turn:a.example:3478?transport=udp", true, "a.example", 3478, "udp"},
	} {
		got, err := ParseURL(s)
		if err != nil {
			t.Errorf("%s: %v", s, err)
		} else if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", s, diff)
		}
	}
	for _, s := range []string{
		"", "a.example", "http://a.example", "turn:", "turn:a.example:0", "turn:a.example:99999", "turn:a.example:x",
		"turn:2001:db8::1", "turn:a.example?transport=sctp", "stun:a.example?transport=tcp", "turn:a.example/path",
		"turn:user@a.example",
	} {
		if got, err := ParseURL(s); err == nil {
			t.Errorf("%q was admitted as %+v", s, got)
		}
	}
}

func FuzzParseURL(f *testing.F) {
	f.Add("turns:[::1]:443?transport=udp")
	f.Add("stun://a")
	f.Fuzz(func(t *testing.T, s string) {
		target, err := ParseURL(s)
		if err != nil {
			return
		}
		again, err := ParseURL(target.URL)
		if err != nil || again.Host != target.Host || again.Port != target.Port || again.Transport != target.Transport {
			t.Errorf("%q: %+v, then %+v, %v", s, target, again, err)
		}
	})
}

// server is pion's TURN server on loopback: a counterpart that shares no code with
// ours. It knows one user.
type server struct {
	udp, tcp, tls string
	roots         *x509.CertPool
}

const user, password = "1999999999:probe", "right"

func startServer(t *testing.T) server {
	t.Helper()
	udp, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cert, roots := certificate(t)
	secured, err := tls.Listen("tcp4", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}})
	if err != nil {
		t.Fatal(err)
	}
	relays := &turn.RelayAddressGeneratorStatic{RelayAddress: net.IPv4(127, 0, 0, 1), Address: "127.0.0.1"}
	quiet := logging.NewDefaultLoggerFactory()
	quiet.DefaultLogLevel = logging.LogLevelDisabled
	s, err := turn.NewServer(turn.ServerConfig{
		Realm: "test", LoggerFactory: quiet,
		AuthHandler: func(name, realm string, _ net.Addr) ([]byte, bool) {
			return turn.GenerateAuthKey(name, realm, password), name == user
		},
		PacketConnConfigs: []turn.PacketConnConfig{{PacketConn: udp, RelayAddressGenerator: relays}},
		ListenerConfigs: []turn.ListenerConfig{
			{Listener: tcp, RelayAddressGenerator: relays}, {Listener: secured, RelayAddressGenerator: relays},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return server{
		udp: "turn:" + udp.LocalAddr().String(), tcp: "turn:" + tcp.Addr().String() + "?transport=tcp",
		tls: "turns:" + secured.Addr().String(), roots: roots,
	}
}

func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots
}

func probe(t *testing.T, url string, o Options) *Report {
	t.Helper()
	target, err := ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	if o.Packets == 0 {
		o.Packets, o.Interval = 20, time.Millisecond
	}
	return Run(t.Context(), target, o)
}

// TestInbound: the relay's ports are tried over UDP, but not from the relay's own machine.
func TestInbound(t *testing.T) {
	s := startServer(t)
	for url, want := range map[string]string{s.udp: "inbound", s.tcp: "echo"} {
		r := probe(t, url, Options{Username: user, Credential: password, Inbound: true})
		last := r.Steps[len(r.Steps)-1]
		if !r.OK || last.Name != want || want == "inbound" && last.Detail != "not tested: this machine has the relay's address" {
			t.Errorf("%s: %+v", url, r)
		}
	}
}

// TestInboundRefused: what the server refuses to have tried is no fault of its relay.
func TestInboundRefused(t *testing.T) {
	target, err := ParseURL(startServer(t).udp)
	if err != nil {
		t.Fatal(err)
	}
	server := net.JoinHostPort(target.Host, strconv.Itoa(target.Port))
	p := &prober{target: target, o: Options{Username: user, Credential: "wrong"}.withDefaults(), report: &Report{Server: server}}
	defer p.close()
	if detail, err := p.inbound(t.Context()); err != nil || !strings.HasPrefix(detail, "not tested: the server refuses one more allocation (error 4") {
		t.Errorf("%q, %v", detail, err)
	}
}

// elsewhere is a relayed address at which nothing arrives.
type elsewhere struct{ net.PacketConn }

func (e elsewhere) LocalAddr() net.Addr { return &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9} }

func TestKnock(t *testing.T) {
	for closed, want := range map[bool]error{false: nil, true: errRangeClosed} {
		peer, err := net.ListenPacket("udp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		relay, err := net.ListenPacket("udp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if closed {
			relay = elsewhere{relay}
		} else if _, err := peer.WriteTo([]byte("somebody else's"), relay.LocalAddr()); err != nil {
			t.Fatal(err)
		}
		if err := knock(t.Context(), peer, relay); !errors.Is(err, want) {
			t.Errorf("closed: %v: %v, want %v", closed, err, want)
		}
		peer.Close()
	}
}

func TestRelaysOverEveryTransport(t *testing.T) {
	s := startServer(t)
	for _, url := range []string{s.udp, s.tcp, s.tls} {
		r := probe(t, url, Options{Username: user, Credential: password, Roots: s.roots})
		if !r.OK || r.Problem != nil {
			t.Errorf("%s: %+v", url, r.Problem)
			continue
		}
		var names []string
		for _, step := range r.Steps {
			names = append(names, step.Name)
		}
		if got := strings.Join(names, " "); got != "connect binding allocate permission echo" {
			t.Errorf("%s: steps %s", url, got)
		}
		if e := r.Echo; e.Sent != 20 || e.Received != 20 || e.MinMs > e.MedianMs || e.MedianMs > e.P95Ms || e.MinMs <= 0 {
			t.Errorf("%s: %+v", url, e)
		}
		if !strings.HasPrefix(r.Relay, "127.0.0.1:") || !strings.HasPrefix(r.Mapped, "127.0.0.1:") {
			t.Errorf("%s: relay %s, mapped %s", url, r.Relay, r.Mapped)
		}
	}
	stunURL := strings.Replace(s.udp, "turn:", "stun:", 1)
	if r := probe(t, stunURL, Options{}); !r.OK || len(r.Steps) != 2 || r.Mapped == "" {
		t.Errorf("%s: %+v", stunURL, r)
	}
}

// What goes wrong is told with the step, the reason and the remedy.
func TestProblems(t *testing.T) {
	s := startServer(t)
	silent, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	closed, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	for _, c := range []struct {
		name, url            string
		o                    Options
		step, reason, remedy string
	}{
		{
			"wrong password", s.udp,
			Options{Username: user, Credential: "wrong"},
			"allocate", "error 400", "wrong password", // this server says 400 for it
		},
		{"silence", "turn:" + silent.LocalAddr().String(), Options{Timeout: 300 * time.Millisecond}, "binding", "no answer", "open UDP port"},
		{"closed TCP port", "turn:" + closed.Addr().String() + "?transport=tcp", Options{}, "connect", "nothing listens", "start the server"},
		{"closed UDP port", "turn:" + closed.Addr().String(), Options{}, "binding", "nothing listens", "start the server"},
		{"unknown authority", s.tls, Options{}, "connect", "not trusted", "whole chain"},
		{"other name", strings.Replace(s.tls, "127.0.0.1", "localhost", 1), Options{Roots: s.roots, Address: "127.0.0.1"}, "connect", "another name", "the URL"},
		{"no TLS there", strings.Replace(strings.TrimSuffix(s.tcp, "?transport=tcp"), "turn:", "turns:", 1), Options{Timeout: 2 * time.Second}, "connect", "", ""},
		{"no such name", "turn:no-such-host.invalid", Options{}, "connect", "does not resolve", "DNS"},
	} {
		r := probe(t, c.url, c.o)
		if r.OK || r.Problem == nil {
			t.Errorf("%s: no problem", c.name)
			continue
		}
		p := r.Problem
		if p.Step != c.step || !strings.Contains(p.Reason, c.reason) || !strings.Contains(p.Remedy, c.remedy) {
			t.Errorf("%s: %+v", c.name, p)
		}
	}
}

func TestEndsWithItsContext(t *testing.T) {
	silent, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	target, err := ParseURL("turn:" + silent.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	if r := Run(ctx, target, Options{Timeout: time.Hour}); r.OK {
		t.Error("a cancelled probe succeeded")
	}
}

func TestExplainCodes(t *testing.T) {
	for code := range words {
		err := &stun.TurnError{ErrorCodeAttr: stun.ErrorCodeAttribute{Code: stun.ErrorCode(code)}}
		p := explain("allocate", Target{}, err)
		if p.Code != code || p.Remedy == "" || !strings.HasPrefix(p.Reason, "error ") {
			t.Errorf("%d: %+v", code, p)
		}
	}
	if p := explain("allocate", Target{}, errors.New("odd")); p.Reason != "odd" || p.Code != 0 {
		t.Errorf("%+v", p)
	}
}

func TestMeasure(t *testing.T) {
	e := Echo{Sent: 200}
	var rtts []time.Duration
	for i := 100; i > 0; i-- {
		rtts = append(rtts, time.Duration(i)*time.Millisecond)
	}
	e.measure(rtts)
	want := Echo{Sent: 200, Received: 100, Loss: 0.5, MinMs: 1, MedianMs: 51, P95Ms: 95}
	if diff := cmp.Diff(want, e); diff != "" {
		t.Error(diff)
	}
}

func TestPrivateRelayIsNoted(t *testing.T) {
	p := &prober{report: &Report{Server: "198.51.100.7:3478", Relay: "10.0.0.4:50000"}}
	p.judgeRelay()
	if len(p.report.Notes) != 1 || !strings.Contains(p.report.Notes[0], "turn.external_ip") {
		t.Errorf("%q", p.report.Notes)
	}
	p = &prober{report: &Report{Server: "192.168.1.7:3478", Relay: "192.168.1.7:50000"}}
	if p.judgeRelay(); len(p.report.Notes) != 0 {
		t.Errorf("%q", p.report.Notes)
	}
}
