package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rtcd/config"
	"rtcd/internal/testnet"
	"rtcd/mux"
)

// An HTTP server's clients cannot hold on to it by being slow.
func TestSlowHTTPClientsAreCut(t *testing.T) {
	for _, c := range []struct {
		why, sends string
		want       time.Duration
	}{
		{"says nothing", "", 5 * time.Second},
		{"half a request", "GET / HTTP/1.1\r\nHost: x\r\n", 5 * time.Second},
		{"no body", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n", 15 * time.Second},
		{"one request, then nothing", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 2 * time.Minute},
		{"20 KB of headers", "GET / HTTP/1.1\r\nHost: x\r\nA: " + strings.Repeat("x", 20<<10) + "\r\n\r\n", 500 * time.Millisecond},
	} {
		synctest.Test(t, func(t *testing.T) {
			n := testnet.New()
			at := netip.MustParseAddrPort("11.22.33.1:80")
			ln, err := n.Listen(at)
			if err != nil {
				t.Fatal(err)
			}
			s := newHTTPServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				io.Copy(io.Discard, r.Body)
			}), discard())
			s.listeners = append(s.listeners, ln)
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- s.Run(ctx) }()
			conn, err := n.Dial(netip.MustParseAddrPort("11.22.33.2:1000"), at)
			if err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			go io.WriteString(conn, c.sends)
			io.Copy(io.Discard, conn)
			if d := time.Since(start); d > c.want {
				t.Errorf("%s: cut after %v, want %v", c.why, d, c.want)
			}
			conn.Close()
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
}

// One address has so many connections on which nothing happens: the oldest goes, and a
// good user behind the same address gets in.
func TestVisitorsAreBounded(t *testing.T) {
	s := newHTTPServer(http.NotFoundHandler(), discard())
	s.visitors.Most = 3
	s.server.ReadHeaderTimeout, s.server.ReadTimeout = time.Hour, time.Hour // nobody is cut as too slow
	if err := s.listen([]config.Address{"127.0.0.1:0"}, false, nil); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	var mute []net.Conn
	for range 3 {
		conn, err := net.Dial("tcp", s.listeners[0].Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		mute = append(mute, conn)
	}
	good := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := good.Get(fmt.Sprintf("http://%s/", s.listeners[0].Addr()))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	mute[0].SetReadDeadline(time.Now().Add(time.Minute))
	if _, err := bufio.NewReader(mute[0]).ReadByte(); err == nil || strings.Contains(err.Error(), "timeout") {
		t.Errorf("the oldest is still there: %v", err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// Connections are plain TCP, by whose descriptor the hub waits: neither wrapped nor MPTCP.
// That the port is TURN's too changes nothing.
func TestAcceptedConnectionsArePlain(t *testing.T) {
	for _, shared := range []*mux.Options{nil, {}} {
		wantPlain(t, shared)
	}
}

func wantPlain(t *testing.T, shared *mux.Options) {
	l, err := listenStream("127.0.0.1:0", false)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	seen := make(chan net.Conn, 1)
	s := newHTTPServer(http.NotFoundHandler(), discard())
	s.server.ConnContext = func(ctx context.Context, c net.Conn) context.Context { seen <- c; return ctx }
	if err := s.listen([]config.Address{"127.0.0.1:0"}, false, shared); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	conn, err := net.Dial("tcp", s.listeners[0].Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(conn, "GET ")
	tcp, ok := (<-seen).(*net.TCPConn)
	if !ok {
		t.Fatal("the connection is wrapped")
	}
	if mptcp, err := tcp.MultipathTCP(); err != nil || mptcp {
		t.Errorf("multipath: %v, %v", mptcp, err)
	}
	conn.Close()
	cancel()
	<-ended
}

// What is not for the public is not on the public port, the relay does not lead to it, and
// TLS is 1.2 or newer.
func TestPublicPortShowsNothingPrivate(t *testing.T) {
	r := startApp(t, io.Discard)
	defer r.end()
	for _, path := range []string{"/debug/pprof/", "/debug/pprof/cmdline", "/metrics", "/healthz", "/readyz", "/api/v1/allocations", "/api/v1/rooms"} {
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: r.roots}}}
		res, err := client.Get(fmt.Sprintf("https://127.0.0.1:%d%s", r.https.port(), path))
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %s", path, res.Status)
		}
	}
	own := r.policy().Own
	for _, s := range []*httpServer{r.https, r.http, r.admin} {
		if a := s.addrs(); len(a) != 1 || !slices.Contains(own, a[0]) {
			t.Errorf("%v is not among our own %v", a, own)
		}
	}
	conn, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", r.https.port()), &tls.Config{
		RootCAs: r.roots, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11,
	})
	if err == nil {
		conn.Close()
		t.Error("TLS 1.1 is spoken")
	}
}
