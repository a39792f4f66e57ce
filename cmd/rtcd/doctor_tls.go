package main

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"rtcd/acme"
	"rtcd/config"
)

func (d *doctor) examineCertificate() {
	c := d.config
	switch c.TLSMode() {
	case config.TLSOff:
		d.row(ok, "tls", "off: nothing listens with TLS; browsers give camera and microphone only to https and to localhost", "")
		return
	case config.TLSACME:
		d.examineACME()
		return
	}
	chain, err := certificates(c, d.externals)
	if err != nil {
		d.row(fail, "tls", err.Error(), "set tls.cert_file and tls.key_file to a certificate and its key, or tls.mode: acme, which fetches one")
		return
	}
	d.judgeCertificate(chain, time.Now())
}

// examineACME looks at the certificate that the authority has given, if it has.
func (d *doctor) examineACME() {
	o, err := acmeOptions(d.config)
	if err != nil {
		d.row(fail, "tls", err.Error(), "")
		return
	}
	chain, err := acme.Stored(o)
	switch {
	case err == nil:
		d.judgeCertificate(chain, time.Now())
	case !errors.Is(err, fs.ErrNotExist):
		d.row(fail, "tls", err.Error(), "let rtcd write to "+o.Dir)
	case d.running:
		d.row(fail, "tls", "acme: no certificate has come yet; the log says why (\"no certificate\")", o.Remedy())
	default:
		d.row(warn, "tls", "acme: no certificate has come yet; rtcd serve fetches it", o.Remedy())
	}
}

// soon is how long before its end a certificate should have been renewed: a quarter of
// its life, at most two weeks.
func soon(leaf *x509.Certificate) time.Duration {
	return min(leaf.NotAfter.Sub(leaf.NotBefore)/4, 14*24*time.Hour)
}

// judgeCertificate looks at a certificate with what stands behind it in its file.
func (d *doctor) judgeCertificate(chain []*x509.Certificate, now time.Time) {
	c, leaf := d.config, chain[0]
	mode, left := c.TLSMode(), leaf.NotAfter.Sub(now)
	days := fmt.Sprintf("%s, valid until %s (%d days)", mode, leaf.NotAfter.UTC().Format(time.DateOnly), int(left.Hours()/24))
	switch {
	case left <= 0:
		d.row(fail, "tls", "the certificate has expired on "+leaf.NotAfter.UTC().Format(time.DateOnly), d.renewal())
	case now.Before(leaf.NotBefore):
		d.row(fail, "tls", fmt.Sprintf("the certificate is not valid before %s: is the clock right?", leaf.NotBefore.UTC().Format(time.RFC3339)), keepClock)
	case c.Domain != "" && leaf.VerifyHostname(c.Domain) != nil:
		d.row(fail, "tls", fmt.Sprintf("the certificate is for %s, not for %s", sentence(append(leaf.DNSNames, addrs(leaf)...)), c.Domain), d.renewal())
	case mode == config.TLSSelfSigned:
		d.row(warn, "tls", days+"; browsers will ask, and turns: is not handed out", "use a certificate of a public authority: rtcd init --domain NAME")
	case left < soon(leaf):
		d.row(warn, "tls", days+"; it should have been renewed by now", d.renewal())
	default:
		d.row(ok, "tls", days, "")
	}
	if mode == config.TLSFiles {
		d.judgeChain(chain, now)
	}
}

// judgeChain looks whether clients can follow the certificates to a root that they
// know. Browsers often mend a chain, TURN clients and phones do not.
func (d *doctor) judgeChain(chain []*x509.Certificate, now time.Time) {
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	// Names and time have a row of their own.
	_, err := chain[0].Verify(x509.VerifyOptions{Intermediates: between, CurrentTime: inside(chain[0], now)})
	certFile, _ := certFiles(d.config)
	var unknown x509.UnknownAuthorityError
	switch last := chain[len(chain)-1]; {
	case err == nil:
		d.row(ok, "chain", fmt.Sprintf("complete, %d certificates in %s", len(chain), certFile), "")
	case errors.As(err, &unknown) && last.Subject.String() != last.Issuer.String():
		d.row(fail, "chain", fmt.Sprintf("%s ends before a root: the certificate of %q is missing, so clients refuse it", certFile, last.Issuer.CommonName),
			"name the file with the whole chain in tls.cert_file (certbot's fullchain.pem)")
	case errors.As(err, &unknown):
		d.row(warn, "chain", fmt.Sprintf("its root %q is not one that this machine knows: only clients that were given it accept it", last.Subject.CommonName),
			"use a certificate of a public authority, or install that root on every client")
	default:
		d.row(fail, "chain", err.Error(), d.renewal())
	}
}

// inside is now, or a moment at which the certificate is valid.
func inside(c *x509.Certificate, now time.Time) time.Time {
	if now.Before(c.NotBefore) || now.After(c.NotAfter) {
		return c.NotBefore
	}
	return now
}

// renewal is a command that gets another certificate.
func (d *doctor) renewal() string {
	if o, err := acmeOptions(d.config); err == nil && d.config.TLSMode() == config.TLSACME {
		return o.Remedy()
	}
	if config.IsPublicName(d.config.Domain) {
		return "certbot certonly --standalone -d " + d.config.Domain + " (it needs port 80 for a moment); or tls.mode: acme without cert_file and key_file, and rtcd fetches one itself"
	}
	return "get another certificate into tls.cert_file and tls.key_file"
}

// addrs are the addresses that a certificate is for.
func addrs(c *x509.Certificate) (out []string) {
	for _, a := range c.IPAddresses {
		out = append(out, a.String())
	}
	return out
}

// certificates are those that clients would see, the server's own first.
func certificates(c *config.Loaded, addrs []external) (chain []*x509.Certificate, err error) {
	source, err := newCertSource(c, addrs, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	cert, err := source.get(nil)
	if err != nil {
		return nil, err
	}
	for _, der := range cert.Certificate {
		one, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, err
		}
		chain = append(chain, one)
	}
	return chain, nil
}
