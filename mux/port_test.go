package mux

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"rtcd/internal/leak"
	"rtcd/internal/testnet"
)

func TestMain(m *testing.M) { leak.Main(m, "rtcd/mux") }

// selfSigned is a certificate for 127.0.0.1, and who trusts it.
var selfSigned = sync.OnceValues(func() (tls.Certificate, *x509.CertPool) {
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<32, 0), // synctest begins in 2000
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		panic(err)
	}
	leaf, _ := x509.ParseCertificate(der)
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
})

func serverTLS() *tls.Config {
	cert, _ := selfSigned()
	return &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{alpnACME}}
}

func clientTLS(protos ...string) *tls.Config {
	_, pool := selfSigned()
	return &tls.Config{RootCAs: pool, ServerName: "127.0.0.1", NextProtos: protos}
}

// site is a Port with an HTTP server that tells what it saw, and TURN clients that are told
// all their bytes again.
type site struct {
	t      testing.TB
	counts *Counts
	addr   string
	turn   sync.WaitGroup
	end    func()
}

// serve runs a Port on a listener until end.
func serve(t testing.TB, ln net.Listener, o Options) *site {
	t.Helper()
	s := &site{t: t, counts: NewCounts("test"), addr: ln.Addr().String()}
	o.Counts, o.Logger = s.counts, slog.New(slog.DiscardHandler)
	o.TURN = func(c Client) { s.turn.Go(func() { echo(c) }) }
	if o.Visitors == nil {
		o.Visitors = &Visitors{}
	}
	web := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, "%s tls=%t from %s", r.Proto, r.TLS != nil, r.RemoteAddr)
		}),
		ReadHeaderTimeout: 5 * time.Second, ConnState: o.Visitors.State,
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo),
	}
	port := New(ln, o)
	ended := make(chan error, 1)
	go func() { ended <- web.Serve(port) }()
	s.end = sync.OnceFunc(func() {
		web.Close()
		<-ended
		s.turn.Wait()
	})
	return s
}

// echo answers whole lines until the client ends.
func echo(c Client) {
	defer c.Conn.Close()
	r := bufio.NewReader(io.MultiReader(bytes.NewReader(c.First), c.Conn))
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		fmt.Fprintf(c.Conn, "TURN %s %q\n", c.Conn.RemoteAddr(), line)
	}
}

func (s *site) count(o Outcome) int {
	return int(testutil.ToFloat64(s.counts.WithLabelValues(string(o))))
}

func (s *site) wantCount(o Outcome, n int) {
	s.t.Helper()
	for end := time.Now().Add(time.Minute); s.count(o) < n && time.Now().Before(end); time.Sleep(time.Millisecond) {
	}
	if got := s.count(o); got != n {
		s.t.Errorf("%s: %d, want %d", o, got, n)
	}
}

func onLoopback(t testing.TB, o Options) *site {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, ln, o)
	t.Cleanup(s.end)
	return s
}

// say connects, with TLS if there is a configuration, says the parts one after another, each
// in a packet of its own, and returns the first answer.
func (s *site) say(with *tls.Config, parts ...string) string {
	s.t.Helper()
	var nc net.Conn
	var err error
	if with != nil {
		nc, err = tls.Dial("tcp", s.addr, with)
	} else {
		nc, err = net.Dial("tcp", s.addr)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(time.Minute))
	for i, part := range parts {
		if i > 0 {
			time.Sleep(5 * time.Millisecond) // or the kernel may join them; the answer is the same
		}
		io.WriteString(nc, part)
	}
	b := make([]byte, 1000)
	n, err := nc.Read(b)
	if err != nil && n == 0 {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			s.t.Errorf("%q: neither an answer nor an end", parts)
		}
		return ""
	}
	return string(b[:n])
}

func TestJudge(t *testing.T) {
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "PROPFIND", "PRI * HTTP/2.0", "get"} {
		if Judge(method[0]) != HTTP {
			t.Errorf("%s is not HTTP", method)
		}
	}
	// Every class of the methods of STUN and TURN (RFC 8489 section 5: M11-M7 C1 M6-M4 C0 M3-M0).
	for method := range 0x0e {
		for class := range 4 {
			typ := method&0xf | method>>4&7<<5 | class&1<<4 | class>>1<<8
			if Judge(byte(typ>>8)) != TURN {
				t.Errorf("message type %#04x is not TURN", typ)
			}
		}
	}
	n := map[Protocol]int{}
	for b := range 256 {
		n[Judge(byte(b))]++
	}
	if n[HTTP] != 52 || n[TURN] != 5 || n[Unknown] != 256-57 {
		t.Errorf("%v", n)
	}
}

const (
	request  = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
	stunLike = "\x00\x01\x00\x00 Binding\n" // the test's TURN speaks in lines
)

func TestOnePortForTLS(t *testing.T) {
	s := onLoopback(t, Options{TLS: serverTLS()})
	web, relay := "HTTP/1.1 200 OK", `TURN 127.0.0.1:`
	for _, c := range []struct {
		why    string
		protos []string
		parts  []string
		want   string
	}{
		{"a browser's HTTP/1.1", []string{"http/1.1"}, []string{request}, web},
		{"curl --no-alpn", nil, []string{request}, web},
		{"a first byte alone", nil, []string{"G", request[1:]}, web},
		{"a protocol that nobody knows", []string{"foo"}, []string{request}, web},
		{"a browser's turns:", nil, []string{stunLike}, relay},
		{"a TURN client's first byte alone", nil, []string{"\x00", stunLike[1:]}, relay},
		{"byte by byte", nil, strings.Split(stunLike, ""), relay},
		{"TURN by its name", []string{"stun.turn"}, []string{stunLike}, relay},
		{"STUN by its name", []string{"stun.nat-discovery"}, []string{stunLike}, relay},
		{"TURN by its name, among others", []string{"h2", "http/1.1", "stun.turn"}, []string{stunLike}, relay},
		{"TURN that passes for the web", []string{"http/1.1"}, []string{stunLike}, relay},
		{"TURN, and a protocol that nobody knows", []string{"foo"}, []string{stunLike}, relay},
		{"neither", nil, []string{"\x80\x00\x00\x00"}, ""},
		{"TLS in TLS", nil, []string{"\x16\x03\x01"}, ""},
		{"a question of the certificate authority", []string{"acme-tls/1"}, nil, ""},
	} {
		got := s.say(clientTLS(c.protos...), c.parts...)
		if !strings.HasPrefix(got, c.want) || (got == "") != (c.want == "") {
			t.Errorf("%s: got %q, want %q", c.why, got, c.want)
		}
		if whole := strings.Join(c.parts, ""); c.want == relay && !strings.Contains(got, fmt.Sprintf("%q", whole)) {
			t.Errorf("%s: %q has not all of %q", c.why, got, whole)
		}
		if c.want == web && !strings.Contains(got, "tls=true") {
			t.Errorf("%s: the server does not know of TLS: %q", c.why, got)
		}
	}
	if got := s.say(nil, request); !strings.Contains(got, "400 Bad Request") || !strings.Contains(got, "HTTPS") {
		t.Errorf("HTTP without TLS: %q", got)
	}
	s.wantCount(IsHTTP, 4)
	s.wantCount(IsTURN, 8)
	s.wantCount(IsUnknown, 2)
	s.wantCount(IsACME, 1)
	s.wantCount(NoTLS, 1)
}

// HTTP/2 is spoken with who offers it.
func TestHTTP2(t *testing.T) {
	s := onLoopback(t, Options{TLS: serverTLS()})
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: clientTLS(), ForceAttemptHTTP2: true}}
	defer client.CloseIdleConnections()
	for range 3 {
		res, err := client.Get("https://" + s.addr + "/")
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if res.ProtoMajor != 2 || !strings.HasPrefix(string(body), "HTTP/2.0 tls=true") {
			t.Errorf("%s %s", res.Proto, body)
		}
	}
	if s.count(IsHTTP) != 1 {
		t.Errorf("%d connections", s.count(IsHTTP))
	}
}

func TestOnePortForTCP(t *testing.T) {
	s := onLoopback(t, Options{})
	for _, c := range []struct {
		parts []string
		want  string
	}{
		{[]string{request}, "HTTP/1.1 200 OK"},
		{strings.Split(request, ""), "HTTP/1.1 200 OK"},
		{[]string{stunLike}, "TURN 127.0.0.1"},
		{strings.Split(stunLike, ""), "TURN 127.0.0.1"},
		{[]string{"\x16\x03\x01"}, ""},
		{[]string{"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c"}, ""}, // a PROXY header of somebody who is no proxy
	} {
		got := s.say(nil, c.parts...)
		if !strings.HasPrefix(got, c.want) || (got == "") != (c.want == "") {
			t.Errorf("%q: got %q, want %q", c.parts, got, c.want)
		}
	}
	s.wantCount(IsHTTP, 2)
	s.wantCount(IsTURN, 2)
	s.wantCount(IsUnknown, 2)
}

// inWorld runs f in a bubble with a Port on a network in memory.
func inWorld(t *testing.T, o Options, f func(s *site, dial func() net.Conn)) {
	synctest.Test(t, func(t *testing.T) {
		n := testnet.New()
		at := netip.MustParseAddrPort("11.22.33.1:443")
		ln, err := n.Listen(at)
		if err != nil {
			t.Fatal(err)
		}
		s := serve(t, ln, o)
		f(s, func() net.Conn {
			nc, err := n.Dial(netip.MustParseAddrPort("11.22.44.1:0"), at)
			if err != nil {
				t.Fatal(err)
			}
			return nc
		})
		s.end()
	})
}

// Who is silent or slow is cut, each time after five seconds, and holds up nobody.
func TestSilentAndSlowClientsAreCut(t *testing.T) {
	secured := func(nc net.Conn) io.Writer {
		c := tls.Client(nc, clientTLS())
		if err := c.Handshake(); err != nil {
			t.Error(err)
		}
		return c
	}
	for _, c := range []struct {
		why     string
		tls     *tls.Config
		does    func(net.Conn)
		outcome Outcome
		after   time.Duration
	}{
		{"silent on TCP", nil, func(net.Conn) {}, Silent, 5 * time.Second},
		{"silent before TLS", serverTLS(), func(net.Conn) {}, NoTLS, 5 * time.Second},
		{"a byte of the handshake in a second", serverTLS(), func(nc net.Conn) {
			for _, b := range []byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03") {
				if _, err := nc.Write([]byte{b}); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		}, NoTLS, 5 * time.Second},
		{"silent in TLS", serverTLS(), func(nc net.Conn) { secured(nc) }, Silent, 5 * time.Second},
		{"silent in TLS, four seconds late", serverTLS(), func(nc net.Conn) {
			time.Sleep(4 * time.Second)
			secured(nc)
		}, Silent, 9 * time.Second},
		{"half a request", serverTLS(), func(nc net.Conn) { io.WriteString(secured(nc), "GET / ") }, IsHTTP, 5 * time.Second},
	} {
		inWorld(t, Options{TLS: c.tls}, func(s *site, dial func() net.Conn) {
			nc, start := dial(), time.Now()
			gone := make(chan time.Duration)
			go func() {
				c.does(nc)
				for {
					if _, err := nc.Read(make([]byte, 1000)); err != nil {
						break
					}
				}
				gone <- time.Since(start)
			}()
			time.Sleep(time.Second)
			// Meanwhile somebody else is served.
			good := dial()
			var w io.ReadWriter = good
			if c.tls != nil {
				w = tls.Client(good, clientTLS())
			}
			io.WriteString(w, stunLike)
			if line, err := bufio.NewReader(w).ReadString('\n'); err != nil || time.Since(start) != time.Second {
				t.Errorf("%s: another client got %q, %v after %v", c.why, line, err, time.Since(start))
			}
			good.Close()
			if d := <-gone; d < c.after || d > c.after+time.Second { // it may be asleep when it is cut
				t.Errorf("%s: cut after %v, want %v", c.why, d, c.after)
			}
			synctest.Wait()
			if s.count(c.outcome) != 1 {
				t.Errorf("%s: not counted as %s", c.why, c.outcome)
			}
			nc.Close()
		})
	}
}

// A TURN client has its ten seconds from when it came, not from when it was known.
func TestSinceIsTheAccept(t *testing.T) {
	inWorld(t, Options{}, func(s *site, dial func() net.Conn) {
		n := testnet.New()
		at := netip.MustParseAddrPort("11.22.33.1:80")
		ln, err := n.Listen(at)
		if err != nil {
			t.Fatal(err)
		}
		since := make(chan time.Time, 1)
		p := New(ln, Options{TURN: func(c Client) { since <- c.Since; c.Conn.Close() }})
		go p.Accept()
		nc, err := n.Dial(netip.MustParseAddrPort("11.22.44.1:0"), at)
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		time.Sleep(3 * time.Second)
		io.WriteString(nc, stunLike)
		if got := <-since; !got.Equal(start) {
			t.Errorf("since %v after it came", got.Sub(start))
		}
		nc.Close()
		p.Close()
	})
}

// One address has so many connections of which nobody knows what they are: the oldest goes,
// and a good client behind the same address gets in.
func TestUnknownConnectionsAreBounded(t *testing.T) {
	s := onLoopback(t, Options{Visitors: &Visitors{Most: 3}, Patience: time.Hour}) // nobody is cut as silent
	var mute []net.Conn
	for range 3 {
		nc, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		mute = append(mute, nc)
		time.Sleep(10 * time.Millisecond) // which is the oldest?
	}
	if got := s.say(nil, request); !strings.HasPrefix(got, "HTTP/1.1 200") {
		t.Errorf("a good client: %q", got)
	}
	mute[0].SetReadDeadline(time.Now().Add(time.Minute))
	if _, err := mute[0].Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the oldest is still there: %v", err)
	}
}

// The end of a Port ends those of whom nobody knows what they are, and its Accept.
func TestCloseEndsAll(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := New(ln, Options{TLS: serverTLS(), Patience: time.Hour})
	accepted := make(chan error, 1)
	go func() { _, err := p.Accept(); accepted <- err }()
	mute, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	// Served, but nobody takes it.
	waiting, err := tls.Dial("tcp", ln.Addr().String(), clientTLS("h2"))
	if err != nil {
		t.Fatal(err)
	}
	defer waiting.Close()
	if err := <-accepted; err != nil {
		t.Fatal(err)
	}
	p.Close()
	if _, err := mute.Read(make([]byte, 1)); err == nil {
		t.Error("a connection outlives its port")
	}
	if _, err := p.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept: %v", err)
	}
	if err := New(ln, Options{}).Close(); !errors.Is(err, net.ErrClosed) { // that never began
		t.Errorf("Close: %v", err)
	}
}

// What waits for a connection without a goroutine finds the system's socket below it, and
// closing that does not wait.
func TestBare(t *testing.T) {
	tcp := &net.TCPConn{}
	through := &proxied{tcp, &net.TCPAddr{}}
	for _, nc := range []net.Conn{
		tcp, through, &peeked{through, nil}, tls.Server(through, serverTLS()),
		&peekedTLS{tls.Server(through, serverTLS()), nil},
	} {
		if bare(nc) != tcp {
			t.Errorf("below %T: %T", nc, bare(nc))
		}
	}
}

// A panic costs one connection and is counted.
func TestPanicCostsOneConnection(t *testing.T) {
	cert, _ := selfSigned()
	var once sync.Once
	s := onLoopback(t, Options{TLS: &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		once.Do(func() { panic("a certificate that bites") })
		return &cert, nil
	}}})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if nc, err := (&tls.Dialer{Config: clientTLS()}).DialContext(ctx, "tcp", s.addr); err == nil {
		nc.Close()
		t.Error("the first connection lives")
	}
	if got := s.say(clientTLS(), request); !strings.HasPrefix(got, "HTTP/1.1 200") {
		t.Errorf("the second: %q", got)
	}
	s.wantCount(Panicked, 1)
}

func clientOver(nc net.Conn) net.Conn { return tls.Client(nc, clientTLS()) }
