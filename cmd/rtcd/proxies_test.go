package main

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/stun/v3"

	"rtcd/turnsrv/relay"
)

// TestForwardedAddresses are believed only as far as trusted proxies tell them.
func TestForwardedAddresses(t *testing.T) {
	behind := loadText(t, `listen: {trusted_proxies: [10.0.0.0/8, "2001:db8::7"]}`).Listen.TrustedProxies
	for _, c := range []struct {
		remote    string
		forwarded []string
		want      string
	}{
		{"192.0.2.1:5", nil, "192.0.2.1"},
		{"192.0.2.1:5", []string{"198.51.100.1"}, "192.0.2.1"},
		{"10.1.2.3:5", nil, "10.1.2.3"},
		{"10.1.2.3:5", []string{"198.51.100.1"}, "198.51.100.1"},
		{"10.1.2.3:5", []string{"203.0.113.9, 198.51.100.1"}, "198.51.100.1"}, // the first one is the client's own invention
		{"10.1.2.3:5", []string{"203.0.113.9", "198.51.100.1, 10.9.9.9"}, "198.51.100.1"},
		{"10.1.2.3:5", []string{"10.9.9.9"}, "10.9.9.9"},
		{"10.1.2.3:5", []string{"198.51.100.1, unknown"}, "10.1.2.3"},
		{"10.1.2.3:5", []string{"198.51.100.1:77"}, "10.1.2.3"},
		{"[2001:db8::7]:5", []string{"2001:db8::1"}, "2001:db8::1"},
		{"[::ffff:10.1.2.3]:5", []string{"::ffff:198.51.100.1"}, "198.51.100.1"},
		{"@", []string{"198.51.100.1"}, "@"},
	} {
		r := &http.Request{RemoteAddr: c.remote, Header: http.Header{"X-Forwarded-For": c.forwarded}}
		if got := clientAddress(behind)(r); got != c.want {
			t.Errorf("%s %q: %s, want %s", c.remote, c.forwarded, got, c.want)
		}
		if got, want := clientAddress(nil)(r), clientAddress(nil)(&http.Request{RemoteAddr: c.remote}); got != want {
			t.Errorf("%s: with no trusted proxy a header makes it %s", c.remote, got)
		}
	}
}

// Behind a proxy of listen.proxy_protocol the relay and the hub see the client's address on
// every stream listener; without a header nobody gets in, and rtcd itself still reaches its own.
func TestClientsBehindAProxy(t *testing.T) {
	var log lockedBuffer
	text := strings.Replace(loopback(t), "listen: {", "listen: {proxy_protocol: [127.0.0.1], ", 1)
	r := newRunning(t, &log, text, lookup)
	seen := make(chan string, 10)
	address := clientAddress(r.config.Listen.TrustedProxies)
	for _, s := range []*httpServer{r.https, r.http} {
		s.server.Handler = http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) { seen <- address(q) })
	}
	r.serve()
	const client = "203.0.113.7:1234"
	for name, c := range map[string]struct {
		at     net.Addr
		secure bool
		http   bool
	}{
		"https": {r.https.listeners[0].Addr(), true, true},
		"http":  {r.http.listeners[0].Addr(), false, true},
		"turn":  {net.TCPAddrFromAddrPort(r.turn.Addrs(relay.TCP)[0]), false, false},
		"turns": {net.TCPAddrFromAddrPort(r.turn.Addrs(relay.TLS)[0]), true, false},
	} {
		through := func(header string) net.Conn {
			nc, err := net.Dial("tcp", c.at.String())
			if err != nil {
				t.Fatal(err)
			}
			nc.SetDeadline(time.Now().Add(time.Minute))
			io.WriteString(nc, header)
			if c.secure {
				return tls.Client(nc, &tls.Config{RootCAs: r.roots, ServerName: "127.0.0.1"})
			}
			return nc
		}
		for _, header := range []string{"PROXY TCP4 203.0.113.7 192.0.2.1 1234 443\r\n", "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xcb\x00\x71\x07\xc0\x00\x02\x01\x04\xd2\x01\xbb"} {
			nc := through(header)
			request := stun.MustBuild(stun.TransactionID, stun.BindingRequest)
			nc.Write(request.Raw)
			b := make([]byte, 1000)
			n, err := nc.Read(b)
			answer := stun.Message{Raw: b[:n]}
			var mapped stun.XORMappedAddress
			if err != nil || answer.Decode() != nil || mapped.GetFrom(&answer) != nil || mapped.String() != client {
				t.Errorf("%s: the relay sees %v, %v; want %s", name, mapped, err, client)
			}
			nc.Close()
			if !c.http {
				continue
			}
			nc = through(header)
			io.WriteString(nc, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
			io.ReadAll(nc)
			nc.Close()
			if got := <-seen; got != "203.0.113.7" {
				t.Errorf("%s: the site sees %s", name, got)
			}
		}
		nc := through("") // as if there were no proxy
		nc.Write(stun.MustBuild(stun.TransactionID, stun.BindingRequest).Raw)
		if n, err := nc.Read(make([]byte, 100)); err == nil {
			t.Errorf("%s: %d bytes without a header", name, n)
		}
		nc.Close()
	}
	if !strings.Contains(log.String(), "sends no PROXY header") {
		t.Error("the log does not say that the proxy sends no header")
	}
	for _, check := range r.pulse() {
		if err := check.Do(t.Context()); err != nil {
			t.Errorf("pulse: %s: %v", check.Name, err)
		}
	}
	for _, u := range []string{"turns:" + r.https.listeners[0].Addr().String(), "turn:" + r.turn.Addrs(relay.TCP)[0].String() + "?transport=tcp"} {
		if report, _ := r.probeOwn(t.Context(), u); !report.OK {
			t.Errorf("self-test of %s: %+v", u, report.Problem)
		}
	}
	r.end()
}

// lockedBuffer is a log that can be read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
