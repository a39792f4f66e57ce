package main

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// fileCert is a certificate in files that another program renews. New handshakes get
// what was read last; what cannot be used never takes the place of what can.
type fileCert struct {
	log    *slog.Logger
	errors prometheus.Counter
	cert   atomic.Pointer[tls.Certificate]

	mu                sync.Mutex // guards the following
	certFile, keyFile string
	files             watched
}

// newFileCert reads a certificate for the first time.
func newFileCert(certFile, keyFile string, log *slog.Logger) (*fileCert, error) {
	f := &fileCert{
		log: log,
		errors: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "rtcd_tls_reload_errors_total", Help: "Renewed certificates that could not be used.",
		}),
	}
	pair, err := f.prepare(certFile, keyFile)
	if err != nil {
		return nil, err
	}
	f.use(pair)
	return f, nil
}

// get is a tls.Config's GetCertificate.
func (f *fileCert) get(*tls.ClientHelloInfo) (*tls.Certificate, error) { return f.cert.Load(), nil }

// filePair is a certificate that can be used, and where it is from.
type filePair struct {
	certFile, keyFile string
	cert              *tls.Certificate
}

// prepare reads a pair that use may put in force. Look says nothing more about the
// state in which prepare found the files.
func (f *fileCert) prepare(certFile, keyFile string) (*filePair, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if certFile == f.certFile && keyFile == f.keyFile || f.certFile == "" {
		f.files.reported(certFile, keyFile)
	}
	cert, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		f.errors.Inc()
		return nil, fmt.Errorf("tls: %w", err)
	}
	return &filePair{certFile, keyFile, &cert}, nil
}

// use puts a pair in force, and tells whether it is another one than before.
func (f *fileCert) use(p *filePair) (changed bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if p.certFile != f.certFile || p.keyFile != f.keyFile {
		f.certFile, f.keyFile = p.certFile, p.keyFile
		f.files.reported(p.certFile, p.keyFile)
	}
	before := f.cert.Swap(p.cert)
	return before == nil || !slices.EqualFunc(before.Certificate, p.cert.Certificate, slices.Equal)
}

// look reads the files anew if they have changed and their writer seems to be done.
func (f *fileCert) look() {
	f.mu.Lock()
	certFile, keyFile := f.certFile, f.keyFile
	changed := f.files.changed(certFile, keyFile)
	f.mu.Unlock()
	if !changed {
		return
	}
	pair, err := f.prepare(certFile, keyFile)
	if err != nil {
		f.log.Warn("the renewed certificate cannot be used; the old one stays", "file", certFile, "error", err)
		return
	}
	if f.use(pair) {
		f.log.Info("certificate read anew", "file", certFile,
			"serial", pair.cert.Leaf.SerialNumber.Text(16), "expires", pair.cert.Leaf.NotAfter)
	}
}

// watched tells when files have got other contents. Whatever way they were replaced,
// by writing, renaming or turning a symbolic link, only the contents count.
type watched struct{ known, seen string }

// reported takes the files' contents of now as known.
func (w *watched) reported(names ...string) { w.known = fingerprint(names) }

// changed tells that the contents are neither known nor those of the last look's other
// state: they differ from the known ones, and were the same at the last look, so that
// half of a change, one file of two, is not taken for the whole.
func (w *watched) changed(names ...string) bool {
	now := fingerprint(names)
	settled := now == w.seen
	w.seen = now
	if now == w.known || !settled {
		return false
	}
	w.known = now
	return true
}

// fingerprint stands for the contents of files, or why they cannot be read.
func fingerprint(names []string) string {
	h := sha256.New()
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			io.WriteString(h, err.Error())
			continue
		}
		n, err := io.Copy(h, io.LimitReader(f, 1<<20))
		f.Close()
		io.WriteString(h, "\x00"+hex.EncodeToString([]byte{byte(n), byte(n >> 8), byte(n >> 16)}))
		if err != nil {
			io.WriteString(h, err.Error())
		}
	}
	return string(h.Sum(nil))
}
