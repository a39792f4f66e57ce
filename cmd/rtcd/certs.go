package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"rtcd/config"
)

// errNoACME is what mode acme says until it is built in.
var errNoACME = errors.New("tls.mode: this version cannot fetch certificates by itself (acme); " +
	"set tls.cert_file and tls.key_file to a certificate that certbot or another client keeps, " +
	"or tls.mode: self-signed for a test")

// tlsConfig is for https and turns; nil where TLS is off.
func tlsConfig(c *config.Loaded, addrs []external, log *slog.Logger) (*tls.Config, error) {
	switch c.TLSMode() {
	case config.TLSOff:
		return nil, nil
	case config.TLSACME:
		return nil, errNoACME
	case config.TLSFiles:
		live := &liveCert{certFile: c.Resolve("tls.cert_file", c.TLS.CertFile), keyFile: c.Resolve("tls.key_file", c.TLS.KeyFile), log: log}
		if _, err := live.get(nil); err != nil {
			return nil, fmt.Errorf("tls: %w", err)
		}
		return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: live.get}, nil
	}
	cert, err := selfSigned(c, addrs, time.Now())
	if err != nil {
		return nil, fmt.Errorf("self-signed certificate: %w", err)
	}
	get := func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &cert, nil }
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: get}, nil
}

// liveCert is a certificate in files that another program renews.
type liveCert struct {
	certFile, keyFile string
	log               *slog.Logger

	mu     sync.Mutex // guards the following
	cert   *tls.Certificate
	looked time.Time
	stamp  string // of the files that cert was read from, or that could not be read
}

// lookAgain is how often the files are looked at, on a handshake.
const lookAgain = 10 * time.Second

// get returns the certificate, read anew if the files have changed. Files that
// cannot be read, as in the middle of a renewal, leave the old one in place.
func (l *liveCert) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cert != nil && time.Since(l.looked) < lookAgain {
		return l.cert, nil
	}
	l.looked = time.Now()
	stamp := fileStamp(l.certFile) + fileStamp(l.keyFile)
	if l.cert != nil && stamp == l.stamp {
		return l.cert, nil
	}
	l.stamp = stamp
	cert, err := tls.LoadX509KeyPair(l.certFile, l.keyFile)
	switch {
	case err == nil:
		if l.cert != nil {
			l.log.Info("certificate read anew", "file", l.certFile)
		}
		l.cert = &cert
	case l.cert == nil:
		return nil, err
	default:
		l.log.Warn("the renewed certificate cannot be used; the old one stays", "error", err)
	}
	return l.cert, nil
}

// fileStamp changes when the file does.
func fileStamp(name string) string {
	info, err := os.Stat(name)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%d %v;", info.Size(), info.ModTime().UnixNano())
}

// The files of the self-signed certificate in the state directory.
const (
	certFile = "self-signed.crt"
	keyFile  = "self-signed.key"
)

// renewBefore is how long before its end a self-signed certificate is made anew.
const renewBefore = 30 * 24 * time.Hour

// selfSigned loads the certificate of the state directory, or makes one if there is
// none for these names or it ends soon.
func selfSigned(c *config.Loaded, addrs []external, now time.Time) (tls.Certificate, error) {
	dir, err := stateDir()
	if err != nil {
		return tls.Certificate{}, err
	}
	names := []string{"localhost"}
	ips := []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	if addr, err := netip.ParseAddr(c.Domain); err == nil {
		ips = append(ips, addr.AsSlice())
	} else if c.Domain != "" {
		names = append(names, c.Domain)
	}
	for _, a := range addrs {
		ips = append(ips, a.Public.AsSlice())
	}
	certPath, keyPath := filepath.Join(dir, certFile), filepath.Join(dir, keyFile)
	if cert, err := tls.LoadX509KeyPair(certPath, keyPath); err == nil && covers(cert.Leaf, names, ips, now) {
		return cert, nil
	}
	certPEM, keyPEM, err := makeCertificate(names, ips, now)
	if err != nil {
		return tls.Certificate{}, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return tls.Certificate{}, err
	}
	for path, data := range map[string][]byte{certPath: certPEM, keyPath: keyPEM} {
		os.Remove(path)
		if err := writeNew(path, data, 0o600); err != nil {
			return tls.Certificate{}, err
		}
	}
	return tls.X509KeyPair(certPEM, keyPEM)
}

func covers(leaf *x509.Certificate, names []string, ips []net.IP, now time.Time) bool {
	if now.Add(renewBefore).After(leaf.NotAfter) {
		return false
	}
	for _, ip := range ips {
		names = append(slices.Clip(names), ip.String())
	}
	for _, n := range names {
		if leaf.VerifyHostname(n) != nil {
			return false
		}
	}
	return true
}

func makeCertificate(names []string, ips []net.IP, now time.Time) (certPEM, keyPEM []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: names[len(names)-1], Organization: []string{"rtcd self-signed"}},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.Add(397 * 24 * time.Hour), // more is refused by some clients
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:     names, IPAddresses: ips,
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), nil
}
