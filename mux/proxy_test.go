package mux

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	proxyproto "github.com/pires/go-proxyproto"
)

// header is what a proxy sends for a client.
func header(t testing.TB, version byte, client, server string) string {
	t.Helper()
	h := proxyproto.HeaderProxyFromAddrs(version,
		net.TCPAddrFromAddrPort(netip.MustParseAddrPort(client)), net.TCPAddrFromAddrPort(netip.MustParseAddrPort(server)))
	b, err := h.Format()
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

const (
	localV2 = "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"
	// A client of which only the address family is given: TCP over IPv4, 12 bytes.
	shortV2 = "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x04\xcb\x00\x71\x07"
)

func TestReadHeader(t *testing.T) {
	four := header(t, 2, "203.0.113.7:1234", "192.0.2.1:443")
	withNoise := []byte(four + "\x04\x00\x03abc") // a NOOP after the addresses
	withNoise[15] += 6
	for _, c := range []struct{ why, bytes, client, err string }{
		{"version 1", header(t, 1, "203.0.113.7:1234", "192.0.2.1:443"), "203.0.113.7:1234", ""},
		{"version 1, IPv6", header(t, 1, "[2001:db8::7]:1234", "[2001:db8::1]:443"), "[2001:db8::7]:1234", ""},
		{"version 2", four, "203.0.113.7:1234", ""},
		{"version 2, IPv6", header(t, 2, "[2001:db8::7]:1234", "[2001:db8::1]:443"), "[2001:db8::7]:1234", ""},
		{"version 2 with more in it", string(withNoise), "203.0.113.7:1234", ""},
		{"version 2, mapped", header(t, 2, "[::ffff:203.0.113.7]:1234", "[::ffff:192.0.2.1]:443"), "203.0.113.7:1234", ""},
		{"UNKNOWN", "PROXY UNKNOWN\r\n", "", ""},
		{"LOCAL", localV2, "", ""},
		{"no header", "GET / HTTP/1.1\r\n\r\n", "", "does not begin with"},
		{"TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00\x00", "", "does not begin with"},
		{"an endless line", "PROXY TCP4 " + strings.Repeat("1", 200), "", "no end of line"},
		{"no address", "PROXY TCP4 203.0.113.7\r\n", "", "proxyproto"},
		{"a name", "PROXY TCP4 a.example b.example 1 2\r\n", "", "proxyproto"},
		{"another family", "PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n", "", "proxyproto"},
		{"nobody", "PROXY TCP4 0.0.0.0 192.0.2.1 1 2\r\n", "", "nobody"},
		{"UDP", strings.Replace(four, "\x21\x11", "\x21\x12", 1), "", "want TCP"},
		{"half an address", shortV2, "", "proxyproto"},
		{"64 KB", "\r\n\r\n\x00\r\nQUIT\n\x21\x11\xff\xff", "", "65535 bytes"},
		{"half of it", four[:20], "", "EOF"},
	} {
		rest := "and the rest"
		if c.err == "EOF" {
			rest = ""
		}
		r := strings.NewReader(c.bytes + rest)
		a, err := readHeader(iotest.OneByteReader(r))
		switch {
		case c.err != "":
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: %v %v, want %s", c.why, a, err, c.err)
			}
			continue
		case err != nil, c.client == "" && a != nil, c.client != "" && (a == nil || a.String() != c.client):
			t.Errorf("%s: %v %v, want %s", c.why, a, err, c.client)
		}
		if left, _ := io.ReadAll(r); string(left) != rest {
			t.Errorf("%s: it left %q of %q", c.why, left, rest)
		}
	}
}

// FuzzReadHeader: whatever a proxy sends, no more than a header is read, and it names a
// client or none.
func FuzzReadHeader(f *testing.F) {
	f.Add([]byte(header(f, 1, "203.0.113.7:1234", "192.0.2.1:443")))
	f.Add([]byte(header(f, 2, "[2001:db8::7]:1234", "[2001:db8::1]:443")))
	f.Add([]byte(localV2))
	f.Add([]byte(shortV2))
	f.Add([]byte("PROXY UNKNOWN\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		a, err := readHeader(r)
		read := len(b) - r.Len()
		if read > fixedV2+longestV2 {
			t.Errorf("%d bytes read", read)
		}
		if err != nil {
			return
		}
		if bytes.HasPrefix(b, signatureV1) && !bytes.HasSuffix(b[:read], []byte("\r\n")) {
			t.Errorf("read past the line: %q", b[:read])
		}
		if a != nil {
			if at := a.(*net.TCPAddr).AddrPort(); !at.IsValid() || at.Port() == 0 || at.Addr().IsUnspecified() || at.Addr().Is4In6() {
				t.Errorf("client %v", a)
			}
		}
	})
}

func trusting(prefixes ...string) *Proxies {
	var list []netip.Prefix
	for _, p := range prefixes {
		list = append(list, netip.MustParsePrefix(p))
	}
	return NewProxies(list, slog.New(slog.DiscardHandler))
}

// Behind a proxy everybody sees the client's address, whatever is spoken.
func TestClientsBehindAProxy(t *testing.T) {
	for _, version := range []byte{1, 2} {
		h := header(t, version, "203.0.113.7:1234", "192.0.2.1:443")
		plain := onLoopback(t, Options{Proxies: trusting("10.0.0.0/8", "127.0.0.0/8")})
		for said, want := range map[string]string{
			request:  "tls=false from 203.0.113.7:1234",
			stunLike: "TURN 203.0.113.7:1234",
		} {
			for _, parts := range [][]string{{h + said}, {h, said}, strings.Split(h+said, "")} {
				if got := plain.say(nil, parts...); !strings.Contains(got, want) {
					t.Errorf("version %d: %q, want %q", version, got, want)
				}
			}
		}
		secured := onLoopback(t, Options{TLS: serverTLS(), Proxies: trusting("127.0.0.1/32")})
		for said, want := range map[string]string{
			request:  "tls=true from 203.0.113.7:1234",
			stunLike: "TURN 203.0.113.7:1234",
		} {
			if got := secured.sayThrough(h, said); !strings.Contains(got, want) {
				t.Errorf("version %d over TLS: %q, want %q", version, got, want)
			}
		}
		if got := secured.sayThrough(localV2, request); !strings.Contains(got, "from 127.0.0.1") {
			t.Errorf("the proxy's own: %q", got)
		}
	}
}

// sayThrough is say over TLS through a proxy that sends a header.
func (s *site) sayThrough(header, said string) string {
	s.t.Helper()
	back, front := net.Pipe()
	go func() {
		defer back.Close()
		nc, err := net.Dial("tcp", s.addr)
		if err != nil {
			s.t.Error(err)
			return
		}
		io.WriteString(nc, header)
		done := make(chan struct{})
		go func() { defer close(done); defer back.Close(); io.Copy(back, nc) }()
		io.Copy(nc, back)
		nc.Close()
		<-done
	}()
	c := clientOver(front)
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Minute))
	if _, err := io.WriteString(c, said); err != nil {
		return err.Error()
	}
	b := make([]byte, 1000)
	n, _ := c.Read(b)
	return string(b[:n])
}

// A trusted proxy has to send a header; nobody else's is believed.
func TestHeadersAreRefused(t *testing.T) {
	h := header(t, 2, "203.0.113.7:1234", "192.0.2.1:443")
	h1 := header(t, 1, "203.0.113.7:1234", "192.0.2.1:443")
	trusted := onLoopback(t, Options{Proxies: trusting("127.0.0.0/8")})
	for _, said := range []string{request, stunLike + stunLike} {
		if got := trusted.say(nil, said); got != "" {
			t.Errorf("without a header: %q", got)
		}
	}
	trusted.wantCount(NoProxy, 2)
	stranger := onLoopback(t, Options{Proxies: trusting("10.0.0.0/8")})
	if got := stranger.say(nil, h+request); got != "" {
		t.Errorf("version 2 of a stranger: %q", got)
	}
	if got := stranger.say(nil, h1+request); strings.Contains(got, "203.0.113.7") || !strings.HasPrefix(got, "HTTP/1.1 400") {
		t.Errorf("version 1 of a stranger: %q", got)
	}
	if got := stranger.say(nil, request); !strings.Contains(got, "200 OK") {
		t.Errorf("a stranger without header: %q", got)
	}
	stranger.wantCount(IsUnknown, 1)
}

// A silent proxy is cut like everybody else, and told of, but not for each connection.
func TestSilentProxy(t *testing.T) {
	inWorld(t, Options{Proxies: trusting("11.22.44.0/24")}, func(s *site, dial func() net.Conn) {
		nc, start := dial(), time.Now()
		if _, err := nc.Read(make([]byte, 1)); err == nil || time.Since(start) != 5*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		nc.Close()
		s.wantCount(NoProxy, 1)
	})
	var log strings.Builder
	p, nc := NewProxies(nil, nil), &proxied{client: &net.TCPAddr{}}
	if p != nil {
		t.Error("nobody is trusted, and somebody is")
	}
	p = NewProxies([]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, slog.New(slog.NewTextHandler(&log, nil)))
	for range 100 {
		p.warn(nc, errors.New("none"))
		p.warn(nc, io.EOF)
	}
	if n := strings.Count(log.String(), "\n"); n < 1 || n > 2 {
		t.Errorf("%d lines", n)
	}
}

// Introduce is for who listens by itself.
func TestIntroduce(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	for _, c := range []struct {
		proxies   *Proxies
		say, want string
	}{
		{nil, "", "127.0.0.1:"},
		{trusting("10.0.0.0/8"), "", "127.0.0.1:"},
		{trusting("127.0.0.0/8"), header(t, 1, "203.0.113.7:1234", "192.0.2.1:443"), "203.0.113.7:1234"},
		{trusting("127.0.0.0/8"), "GET / HTTP/1.1\r\n\r\n", ""},
	} {
		out, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		in, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(out, c.say)
		from, err := c.proxies.Introduce(in)
		switch {
		case (err != nil) != (c.want == ""):
			t.Errorf("%q: %v", c.say, err)
		case err == nil && !strings.HasPrefix(from.RemoteAddr().String(), c.want):
			t.Errorf("%v, want %s", from.RemoteAddr(), c.want)
		}
		in.Close()
		out.Close()
	}
}
