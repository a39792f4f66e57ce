package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"rtcd/acme"
	"rtcd/config"
)

// certSource is where the certificate of new handshakes comes from.
type certSource struct {
	get  func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	file *fileCert    // nil unless tls.mode is files
	acme *acme.Source // nil unless it is acme
}

// newCertSource is for https and turns; its get is nil where TLS is off.
func newCertSource(c *config.Loaded, addrs []external, log *slog.Logger) (certSource, error) {
	switch c.TLSMode() {
	case config.TLSOff:
		return certSource{}, nil
	case config.TLSFiles:
		certFile, keyFile := certFiles(c)
		file, err := newFileCert(certFile, keyFile, log)
		if err != nil {
			return certSource{}, err
		}
		return certSource{get: file.get, file: file}, nil
	}
	cert, err := selfSigned(c, addrs, time.Now())
	if err != nil {
		return certSource{}, fmt.Errorf("self-signed certificate: %w", err)
	}
	own := func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &cert, nil }
	if c.TLSMode() != config.TLSACME {
		return certSource{get: own}, nil
	}
	o, err := acmeOptions(c)
	if err != nil {
		return certSource{}, err
	}
	o.Logger, o.Placeholder = log, own
	source, err := acme.New(o)
	if err != nil {
		return certSource{}, fmt.Errorf("tls.mode acme: %w", err)
	}
	return certSource{get: source.Get, acme: source}, nil
}

// acmeDir is where acme keeps its account and certificates, in the state directory.
const acmeDir = "acme"

// acmeOptions are whom to ask for which certificate.
func acmeOptions(c *config.Loaded) (acme.Options, error) {
	dir, err := stateDir()
	if err != nil {
		return acme.Options{}, err
	}
	o := acme.Options{
		Name: strings.ToLower(strings.TrimSuffix(c.Domain, ".")), Dir: filepath.Join(dir, acmeDir),
		Directory: c.TLS.ACME.Directory, Email: c.TLS.Email, Profile: c.TLS.ACME.Profile,
	}
	if file := c.Resolve("tls.acme.ca_file", c.TLS.ACME.CAFile); file != "" {
		data, err := os.ReadFile(file)
		if err != nil {
			return o, fmt.Errorf("tls.acme.ca_file: %w", err)
		}
		if o.Roots = x509.NewCertPool(); !o.Roots.AppendCertsFromPEM(data) {
			return o, fmt.Errorf("tls.acme.ca_file: no certificate in %s", file)
		}
	}
	for _, l := range []struct {
		at   *netip.AddrPort
		list []config.Address
	}{{&o.HTTP, c.Listen.HTTP}, {&o.TLS, c.Listen.HTTPS}} {
		if len(l.list) > 0 {
			*l.at = l.list[0].AddrPort()
		}
	}
	return o, nil
}

// close ends what newCertSource has begun and nobody runs.
func (c certSource) close() {
	if c.acme != nil {
		c.acme.Close()
	}
}

// runCertificate keeps the certificate of an authority fresh, and tells of another one.
func (a *app) runCertificate(ctx context.Context) error {
	if a.cert.acme == nil {
		return nil
	}
	return a.cert.acme.Run(ctx, a.urlsChanged)
}

// certFiles are tls.cert_file and tls.key_file.
func certFiles(c *config.Loaded) (certFile, keyFile string) {
	return c.Resolve("tls.cert_file", c.TLS.CertFile), c.Resolve("tls.key_file", c.TLS.KeyFile)
}

// tlsConfig is how the servers use it; nil where TLS is off.
func (c certSource) tlsConfig() *tls.Config {
	if c.get == nil {
		return nil
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.get}
}

// webTLS is tlsConfig for https, where the authority comes in too.
func (c certSource) webTLS() *tls.Config {
	out := c.tlsConfig()
	if c.acme != nil {
		out.NextProtos = []string{acme.Protocol}
	}
	return out
}

// challenges lets the authority in by plain HTTP.
func (c certSource) challenges(h http.Handler) http.Handler {
	if c.acme == nil {
		return h
	}
	return c.acme.Challenges(h)
}

// trusted tells whether browsers accept the certificate, as far as we know.
func (c certSource) trusted() bool {
	return c.file != nil || c.acme != nil && c.acme.Current() != nil
}

// hasTrusted is trusted, of a server with this configuration.
func hasTrusted(c *config.Loaded) bool {
	if c.TLSMode() != config.TLSACME {
		return c.TLSMode() == config.TLSFiles
	}
	o, err := acmeOptions(c)
	if err != nil {
		return false
	}
	chain, err := acme.Stored(o)
	return err == nil && time.Now().Before(chain[0].NotAfter)
}

// Describe tells the metrics of the certificate (prometheus.Collector).
func (c certSource) Describe(out chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, out) }

var certExpiry = prometheus.NewDesc("rtcd_tls_certificate_expiry_timestamp_seconds",
	"When the certificate in use ends, in Unix seconds, by its first name.", []string{"domain"}, nil)

// Collect tells their values.
func (c certSource) Collect(out chan<- prometheus.Metric) {
	// What stands in for an authority's certificate is nobody's to watch.
	if leaf := c.leaf(); leaf != nil && (c.acme == nil || c.trusted()) {
		out <- prometheus.MustNewConstMetric(certExpiry, prometheus.GaugeValue, float64(leaf.NotAfter.Unix()), certName(leaf))
	}
	if c.file != nil {
		c.file.errors.Collect(out)
	}
	if c.acme != nil {
		c.acme.Collect(out)
	}
}

// expires is when the certificate in use ends, zero if there is none, or only the one that
// stands in for an authority's.
func (c certSource) expires() time.Time {
	if leaf := c.leaf(); leaf != nil && (c.acme == nil || c.trusted()) {
		return leaf.NotAfter
	}
	return time.Time{}
}

// valid tells whether handshakes can succeed, as far as the certificate goes. One that an
// authority does not renew is replaced by another, which nobody trusts.
func (c certSource) valid(now time.Time) bool {
	return c.get == nil || c.acme != nil || now.Before(c.expires())
}

// leaf is the certificate in use, nil if there is none.
func (c certSource) leaf() *x509.Certificate {
	if c.get == nil {
		return nil
	}
	cert, err := c.get(nil)
	if err != nil {
		return nil
	}
	return cert.Leaf
}

// certName is the first name that a certificate is for.
func certName(leaf *x509.Certificate) string {
	switch {
	case len(leaf.DNSNames) > 0:
		return leaf.DNSNames[0]
	case len(leaf.IPAddresses) > 0:
		return leaf.IPAddresses[0].String()
	}
	return leaf.Subject.CommonName
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
		if ips = append(ips, a.Public.AsSlice()); a.Local != a.Public {
			ips = append(ips, a.Local.AsSlice()) // all that is known until the public one is found
		}
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
