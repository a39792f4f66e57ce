package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/stun/v3"

	"rtcd/turnsrv/relay"
)

// live is a directory as certbot keeps it: live/*.pem are symbolic links into archive/.
type live struct {
	t   *testing.T
	dir string
	n   int
}

func (l *live) path(name string) string { return filepath.Join(l.dir, "live", name) }

// put puts the files of one generation in archive/ and turns the links, that of the
// certificate first.
func (l *live) put(certPEM, keyPEM []byte) {
	l.t.Helper()
	l.n++
	for _, dir := range []string{"live", "archive"} {
		if err := os.MkdirAll(filepath.Join(l.dir, dir), 0o700); err != nil {
			l.t.Fatal(err)
		}
	}
	for _, f := range []struct {
		name string
		data []byte
	}{{"fullchain", certPEM}, {"privkey", keyPEM}} {
		file := fmt.Sprintf("%s%d.pem", f.name, l.n)
		if err := os.WriteFile(filepath.Join(l.dir, "archive", file), f.data, 0o600); err != nil {
			l.t.Fatal(err)
		}
		link := l.path(f.name + ".pem")
		os.Remove(link)
		if err := os.Symlink(filepath.Join("..", "archive", file), link); err != nil {
			l.t.Fatal(err)
		}
	}
}

func (l *live) make() (certPEM, keyPEM []byte) {
	l.t.Helper()
	certPEM, keyPEM, err := makeCertificate([]string{"localhost"}, []net.IP{net.IPv4(127, 0, 0, 1)}, time.Now())
	if err != nil {
		l.t.Fatal(err)
	}
	return certPEM, keyPEM
}

// serials are what new clients of each kind are shown.
func (r *running) serials() (out [3]string) {
	r.t.Helper()
	insecure := &tls.Config{InsecureSkipVerify: true}
	for i, at := range []string{r.https.listeners[0].Addr().String(), r.turn.Addrs(relay.TLS)[0].String()} {
		conn, err := tls.Dial("tcp", at, insecure)
		if err != nil {
			r.t.Fatal(err)
		}
		out[i] = conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
		conn.Close()
	}
	conn, err := dtls.DialWithOptions("udp", net.UDPAddrFromAddrPort(r.turn.Addrs(relay.DTLS)[0]), dtls.WithInsecureSkipVerify(true))
	if err == nil {
		defer conn.Close()
		err = conn.HandshakeContext(r.t.Context())
	}
	if err != nil {
		r.t.Fatal(err)
	}
	state, _ := conn.ConnectionState()
	leaf, err := x509.ParseCertificate(state.PeerCertificates[0])
	if err != nil {
		r.t.Fatal(err)
	}
	out[2] = leaf.SerialNumber.String()
	return out
}

// binds asks the relay over a connection who we are, and wants an answer.
func binds(t *testing.T, conn net.Conn) {
	t.Helper()
	question := stun.MustBuild(stun.TransactionID, stun.BindingRequest)
	conn.SetDeadline(time.Now().Add(patience))
	if _, err := conn.Write(question.Raw); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 1500)
	n, err := conn.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	answer := &stun.Message{Raw: buf[:n]}
	if err := answer.Decode(); err != nil || answer.TransactionID != question.TransactionID {
		t.Fatalf("%v %v", answer, err)
	}
}

// Renewed certificates are taken up by every kind of new handshake, connections stay;
// what cannot be used is told in one line, and the old certificate goes on.
func TestRenewedCertificate(t *testing.T) {
	files := &live{t: t, dir: t.TempDir()}
	files.put(files.make())
	text := loopback(t) + fmt.Sprintf("tls: {cert_file: %q, key_file: %q}\n", files.path("fullchain.pem"), files.path("privkey.pem"))
	var log logBook
	r := newRunning(t, &log, text, lookup)
	r.serve()
	defer r.end()
	first := r.serials()
	if first[0] != first[1] || first[0] != first[2] {
		t.Fatalf("https, TLS and DTLS show %v", first)
	}
	conn, err := tls.Dial("tcp", r.turn.Addrs(relay.TLS)[0].String(), &tls.Config{RootCAs: r.roots, ServerName: "localhost"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	binds(t, conn)

	files.put(files.make())
	r.eventually("the renewed certificate is shown", func() bool {
		now := r.serials()
		return now[0] != first[0] && now[0] == now[1] && now[0] == now[2]
	})
	second := r.serials()
	binds(t, conn)

	// The key of another certificate, then no key at all.
	certPEM, keyPEM := files.make()
	_, foreign := files.make()
	for i, key := range [][]byte{foreign, []byte("half a k")} {
		files.put(certPEM, key)
		r.eventually("the files are refused", func() bool {
			return strings.Count(log.String(), "the renewed certificate cannot be used") == i+1
		})
	}
	// Refused by a reload too, all of it.
	r.write(turnKeys(text, "limits: {permissions: 3}"))
	if _, err := r.reload(t.Context()); err == nil || !strings.HasPrefix(err.Error(), "tls: ") || r.config.Turn.Limits.Permissions == 3 {
		t.Errorf("reload: %v", err)
	}
	if now := r.serials(); now != second {
		t.Error("a broken renewal must leave the old certificate")
	}
	binds(t, conn)

	// A reload does not wait for the next look.
	files.put(certPEM, keyPEM)
	r.mustReload(text, "tls.cert_file")
	if now := r.serials(); now == second {
		t.Error("the reload has not taken up the certificate")
	}
	if n := strings.Count(log.String(), "the renewed certificate cannot be used"); n != 2 {
		t.Errorf("%d lines, want one for each refusal", n)
	}
	if strings.Contains(log.String(), "PRIVATE") {
		t.Error("a key is in the log")
	}
	binds(t, conn)
}

// Files may move while the process runs.
func TestCertificateMoves(t *testing.T) {
	one, two := &live{t: t, dir: t.TempDir()}, &live{t: t, dir: t.TempDir()}
	one.put(one.make())
	two.put(two.make())
	base := loopback(t)
	with := func(l *live) string {
		return base + fmt.Sprintf("tls: {cert_file: %q, key_file: %q}\n", l.path("fullchain.pem"), l.path("privkey.pem"))
	}
	r := newRunning(t, &logBook{}, with(one), lookup)
	r.serve()
	defer r.end()
	before := r.serials()
	r.mustReload(with(two), "tls.cert_file", "tls.key_file")
	moved := r.serials()
	if moved == before {
		t.Error("the old files are still shown")
	}
	one.put(one.make())
	two.put(two.make())
	r.eventually("the new files are followed", func() bool { return r.serials() != moved })
}

// Only contents count, and only those that two looks agree on.
func TestWatched(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var w watched
	look := func(want bool, why string) {
		t.Helper()
		if got := w.changed(a, b); got != want {
			t.Errorf("%s: %t", why, got)
		}
	}
	write(a, "1")
	w.reported(a, b)
	look(false, "as reported, b missing")
	write(a, "2")
	look(false, "half of a change")
	write(b, "2")
	look(false, "the other half")
	look(true, "it has settled")
	look(false, "told already")
	if err := os.Chtimes(a, time.Time{}, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	look(false, "touched")
	look(false, "touched, again")
	write(a, "22")
	write(b, "")
	look(false, "the same bytes, else distributed")
	look(true, "they are another content")
	if err := os.Remove(b); err != nil {
		t.Fatal(err)
	}
	look(false, "removed")
	look(true, "removed for good")
	write(b, "")
	look(false, "back")
	write(b, "3")
	w.reported(a, b)
	look(false, "somebody else has told it")
	look(false, "somebody else has told it, again")
}
