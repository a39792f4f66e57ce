package acme

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/prometheus/client_golang/prometheus"
)

// LetsEncrypt is the directory of the authority that is asked by default.
const LetsEncrypt = certmagic.LetsEncryptProductionCA

// Protocol is what the authority offers in TLS when it asks (ALPN, RFC 8737).
const Protocol = "acme-tls/1"

// Options say which certificate to fetch; zero values mean the defaults.
type Options struct {
	Name      string         // a host name or an IP address; must not be empty
	Dir       string         // where account, key and certificate are kept; must not be empty
	Directory string         // URL of the authority; default LetsEncrypt
	Roots     *x509.CertPool // who vouches for that URL; default the system's
	Email     string         // contact; may be empty
	Profile   string         // of the certificate; default shortlived for an address, else the authority's
	Logger    *slog.Logger   // default slog.Default()

	// HTTP and TLS are our listeners, by which the authority comes in; invalid means none.
	HTTP, TLS netip.AddrPort

	// Placeholder is the certificate while there is no other; must not be nil.
	Placeholder func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// Check is how often it is looked whether to renew; default 10 minutes.
	Check time.Duration
}

func (o Options) directory() string { return cmp.Or(o.Directory, LetsEncrypt) }

// profile is what Let's Encrypt wants for an address: it gives 160 hours.
func (o Options) profile() string {
	if _, err := netip.ParseAddr(o.Name); err == nil && o.Profile == "" {
		return "shortlived"
	}
	return o.Profile
}

// Source is a certificate that is fetched and renewed. Its methods may be called from any
// goroutine.
type Source struct {
	o        Options
	failures prometheus.Counter

	config *certmagic.Config
	issuer *certmagic.ACMEIssuer
	cache  *certmagic.Cache // has a goroutine of its own
	stop   sync.Once        // of the cache

	last atomic.Pointer[tls.Certificate] // that the cache had: while one takes another's place it has none
	seen atomic.Pointer[tls.Certificate] // told last
}

// New returns a Source that has not asked anybody yet, but knows the certificate that an
// earlier one has got. Who does not Run it has to Close it.
func New(o Options) (*Source, error) {
	if !o.HTTP.IsValid() && !o.TLS.IsValid() {
		return nil, errors.New("the certificate authority has no way in: it needs HTTP or HTTPS")
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	s := &Source{o: o, failures: prometheus.NewCounter(prometheus.CounterOpts{
		Name: "rtcd_acme_failures_total", Help: "Attempts to get a certificate that failed.",
	})}
	log := toSlog(o.Logger)
	s.cache = certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert:   func(certmagic.Certificate) (*certmagic.Config, error) { return s.config, nil },
		RenewCheckInterval: o.Check, Logger: log,
	})
	s.config = certmagic.New(s.cache, certmagic.Config{
		Storage: &certmagic.FileStorage{Path: o.Dir}, Logger: log, OnEvent: s.event,
		OCSP: certmagic.OCSPConfig{DisableStapling: true}, // authorities have ended it
	})
	template := certmagic.ACMEIssuer{
		CA: o.directory(), TrustedRoots: o.Roots, Email: o.Email, Profile: o.profile(), Agreed: true, Logger: log,
		DisableHTTPChallenge: !o.HTTP.IsValid(), AltHTTPPort: int(o.HTTP.Port()),
		DisableTLSALPNChallenge: !o.TLS.IsValid(), AltTLSALPNPort: int(o.TLS.Port()),
	}
	for _, at := range []netip.AddrPort{o.HTTP, o.TLS} { // so that certmagic sees that we listen there
		if at.IsValid() && !at.Addr().IsUnspecified() {
			template.ListenHost = at.Addr().String()
		}
	}
	s.issuer = certmagic.NewACMEIssuer(s.config, template)
	s.config.Issuers = []certmagic.Issuer{s.issuer}
	s.config.CacheManagedCertificate(context.Background(), o.Name) // there may be none
	s.seen.Store(s.Current())
	return s, nil
}

// Run fetches and renews until ctx is done, and calls changed when there is another certificate.
func (s *Source) Run(ctx context.Context, changed func()) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	if s.Current() == nil {
		s.o.Logger.Info("asking for a certificate; by that you agree to the terms of its authority",
			"name", s.o.Name, "directory", s.o.directory())
	}
	if err := s.config.ManageAsync(ctx, []string{s.o.Name}); err != nil && ctx.Err() == nil {
		s.failed(err) // before anybody was asked: the state directory, most likely
	}
	for {
		select {
		case <-ctx.Done():
			s.Close() // not after a panic: Run may be called again
			return nil
		case <-tick.C:
			s.look(changed)
		}
	}
}

// Close ends a Source that is not going to Run. Its certificate can be had on.
func (s *Source) Close() { s.stop.Do(s.cache.Stop) }

// look tells of a new certificate.
func (s *Source) look(changed func()) {
	now, before := s.Current(), s.seen.Load()
	if now == nil || before != nil && slices.Equal(now.Certificate[0], before.Certificate[0]) {
		return
	}
	s.seen.Store(now)
	s.o.Logger.Info("certificate fetched", "name", s.o.Name, "issuer", now.Leaf.Issuer.String(),
		"serial", now.Leaf.SerialNumber.Text(16), "expires", now.Leaf.NotAfter)
	changed()
}

// event hears what certmagic does.
func (s *Source) event(_ context.Context, event string, data map[string]any) error {
	if err, ok := data["error"].(error); ok && event == "cert_failed" && !errors.Is(err, context.Canceled) {
		s.failed(err)
	}
	return nil
}

// failed tells of an attempt that went wrong, and what has to be in place for one that goes well.
func (s *Source) failed(err error) {
	s.failures.Inc()
	have := "a self-signed one is in use until then"
	if c := s.Current(); c != nil {
		have = "the one that ends on " + c.Leaf.NotAfter.UTC().Format(time.RFC3339) + " is in use until then"
	}
	s.o.Logger.Warn("no certificate; "+have+"; it is tried again", "name", s.o.Name, "error", err, "remedy", s.o.Remedy())
}

// Remedy is what has to be in place for the authority to give a certificate.
func (o Options) Remedy() string {
	how := "port 443"
	switch {
	case o.HTTP.IsValid() && o.TLS.IsValid():
		how = "port 80 or port 443"
	case o.HTTP.IsValid():
		how = "port 80"
	}
	if _, err := netip.ParseAddr(o.Name); err == nil {
		return fmt.Sprintf("the authority (%s) has to reach this machine at %s, TCP %s: open it in firewall and router (rtcd ports)", o.directory(), o.Name, how)
	}
	return fmt.Sprintf("the authority (%s) has to reach this machine as %s, TCP %s: the name has to resolve to it (rtcd check), the port to be open in firewall and router (rtcd ports)",
		o.directory(), o.Name, how)
}

// Get is a tls.Config's GetCertificate.
func (s *Source) Get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if hello != nil && slices.Contains(hello.SupportedProtos, Protocol) {
		return s.config.GetCertificate(hello)
	}
	if c := s.Current(); c != nil {
		return c, nil
	}
	return s.o.Placeholder(hello)
}

// Current is the certificate that the authority gave, nil while there is none or if it has
// ended.
func (s *Source) Current() *tls.Certificate {
	var best *tls.Certificate
	for _, c := range s.cache.AllMatchingCertificates(s.o.Name) {
		if best == nil || c.Leaf.NotAfter.After(best.Leaf.NotAfter) {
			best = &c.Certificate
		}
	}
	if best != nil {
		s.last.Store(best)
	} else {
		best = s.last.Load()
	}
	if best != nil && time.Now().After(best.Leaf.NotAfter) {
		return nil
	}
	return best
}

// Challenges answers the authority's questions over HTTP, and leaves all else to h.
func (s *Source) Challenges(h http.Handler) http.Handler { return s.issuer.HTTPChallengeHandler(h) }

// Describe tells the metrics (prometheus.Collector).
func (s *Source) Describe(out chan<- *prometheus.Desc) { s.failures.Describe(out) }

// Collect tells their values.
func (s *Source) Collect(out chan<- prometheus.Metric) { s.failures.Collect(out) }

// Stored returns the certificate that is kept in the directory of the options, its own first
// and then those that vouch for it; an error that is fs.ErrNotExist if there is none.
func Stored(o Options) (chain []*x509.Certificate, err error) {
	issuer := &certmagic.ACMEIssuer{CA: o.directory()}
	data, err := os.ReadFile(filepath.Join(o.Dir, filepath.FromSlash(certmagic.StorageKeys.SiteCert(issuer.IssuerKey(), o.Name))))
	if err != nil {
		return nil, err
	}
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		chain = append(chain, c)
	}
	if len(chain) == 0 {
		return nil, fmt.Errorf("%s: the stored certificate is empty", o.Name)
	}
	return chain, nil
}
