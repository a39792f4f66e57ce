package acme

import (
	"context"
	"crypto/x509"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
	"github.com/miekg/dns"

	"rtcd/test/lab"
)

// pebble is a certificate authority with an ACME server.
type pebble struct {
	directory string         // its URL
	caFile    string         // who vouches for that
	vouch     *x509.CertPool // the same
	roots     *x509.CertPool // who vouches for its certificates
	stop      func()
}

const day = 86400 // seconds

// startPebble starts an authority. It reaches whom it asks on this machine, by whatever name,
// at these ports. Certificates are good for so many seconds, those of the profile shortlived
// for 160 hours.
func startPebble(t *testing.T, httpPort, tlsPort uint16, validity uint64) *pebble {
	t.Helper()
	quiet := log.New(io.Discard, "", 0)
	if testing.Verbose() {
		quiet = log.New(os.Stderr, "pebble ", log.Ltime)
	}
	store := db.NewMemoryStore()
	issuer := ca.New(quiet, store, "", "ecdsa", 0, 1, map[string]ca.Profile{
		"default": {Description: "usual", ValidityPeriod: validity}, "shortlived": {Description: "short", ValidityPeriod: 160 * 3600},
	})
	front := wfe.New(quiet, store, va.New(quiet, int(httpPort), int(tlsPort), true, nameServer(t), store), issuer,
		[]string{"authority.test"}, true, false, 1, 1)

	own, err := lab.NewCA(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile, err := own.Issue([]string{"authority.test"}, netip.MustParseAddr("127.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: front.Handler(), ErrorLog: quiet}
	ended := make(chan struct{})
	go func() { defer close(ended); server.ServeTLS(ln, certFile, keyFile) }()
	p := &pebble{
		directory: "https://" + ln.Addr().String() + wfe.DirectoryPath,
		caFile:    own.File, vouch: own.Pool(), roots: x509.NewCertPool(),
		stop: sync.OnceFunc(func() { server.Close(); <-ended }),
	}
	t.Cleanup(p.stop)
	p.roots.AppendCertsFromPEM(issuer.GetRootCert(0).PEM())
	return p
}

// nameServer knows every name as 127.0.0.1.
func nameServer(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &dns.Server{Listener: ln, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		a := new(dns.Msg).SetReply(q)
		if q.Question[0].Qtype == dns.TypeA {
			a.Answer = []dns.RR{&dns.A{
				Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 1}, A: net.IPv4(127, 0, 0, 1),
			}}
		}
		_ = w.WriteMsg(a)
	})}
	ended := make(chan struct{})
	go func() { defer close(ended); s.ActivateAndServe() }()
	t.Cleanup(func() { ln.Close(); <-ended })
	return ln.Addr().String()
}

// freePort is a port that nobody uses at the moment.
func freePort(t *testing.T) uint16 {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).AddrPort().Port()
}

// patient is the context of a test.
func patient(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// eventually waits until f holds.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for ctx := patient(t); !f(); {
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("never: %s", what)
		}
	}
}
