package config

import (
	"errors"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

// minSecret is creds.MinSecret; this package imports nothing of ours.
const minSecret = 32

// validate checks what a value alone cannot show. Keys that already have a fault
// are left alone.
func (l *loader) validate() {
	l.check("domain", func() {
		if err := checkDomain(l.Domain); err != nil {
			l.fault("domain", "%s", err)
		}
	})
	l.validateListen()
	l.validateTLS()
	l.validateSecrets()
	l.validateTurn()
	l.validateSignaling()
	l.check("self_test", func() {
		if l.SelfTest != 0 && l.SelfTest < Duration(10*time.Second) {
			l.fault("self_test", "%s is too short; want 10s or more, or 0 for none", l.SelfTest)
		}
	})
	l.validateAccounting()
	l.validateEndpoints()
}

func (l *loader) check(path string, f func()) {
	if !l.broken[path] {
		f()
	}
}

func (l *loader) validateListen() {
	taken := map[string]string{} // address → path, over TCP, which all of them use
	for _, s := range l.listeners() {
		l.check(s.path, func() {
			for _, a := range s.addrs {
				_, unix := a.Unix()
				ap := a.AddrPort()
				switch {
				case s.path == "listen.admin" && !unix && !ap.Addr().IsLoopback():
					l.fault(s.path, "%q can be reached from outside; use 127.0.0.1:9641 or unix:/path", a)
				case s.path != "listen.admin" && unix:
					l.fault(s.path, "%q: only admin can be a unix socket", a)
				case taken[string(a)] != "" && (unix || ap.Port() != 0):
					l.fault(s.path, "%q is taken by %s", a, taken[string(a)])
				case (strings.HasPrefix(s.path, "listen.turn") || s.path == "listen.https") && l.Turn.RelayPorts.Contains(ap.Port()):
					l.fault(s.path, "port %d lies within turn.relay_ports (%s)", ap.Port(), l.Turn.RelayPorts)
				default:
					taken[string(a)] = s.path
				}
			}
		})
	}
}

func (l *loader) listeners() []struct {
	path  string
	addrs []Address
} {
	return []struct {
		path  string
		addrs []Address
	}{
		{"listen.https", l.Listen.HTTPS},
		{"listen.http", l.Listen.HTTP},
		{"listen.turn", l.Listen.Turn},
		{"listen.turns", l.Listen.Turns},
		{"listen.admin", l.Listen.Admin},
	}
}

func (l *loader) validateTLS() {
	if l.broken["tls.mode"] {
		return
	}
	files := l.TLS.CertFile != "" || l.TLS.KeyFile != ""
	uses := l.TLS.Mode == TLSAuto || l.TLS.Mode == TLSFiles
	switch {
	case files && !uses:
		l.fault("tls.mode", "%s does not use tls.cert_file and tls.key_file; did you mean \"files\"?", l.TLS.Mode)
	case !files && l.TLS.Mode == TLSFiles:
		l.fault("tls.mode", "files needs tls.cert_file and tls.key_file")
	case files && l.TLS.KeyFile == "":
		l.fault("tls.cert_file", "tls.key_file is missing")
	case files && l.TLS.CertFile == "":
		l.fault("tls.key_file", "tls.cert_file is missing")
	}
	l.validateACME()
	if l.TLS.Mode == TLSOff {
		for path, list := range map[string][]Address{"listen.https": l.Listen.HTTPS, "listen.turns": l.Listen.Turns} {
			if len(list) > 0 {
				l.fault(path, "tls.mode is off; write \"\" here too")
			}
		}
	}
}

func (l *loader) validateACME() {
	own := l.TLS.ACME.Directory != "" // an authority of one's own, perhaps
	if u, err := url.Parse(l.TLS.ACME.Directory); own && (err != nil || u.Scheme != "https" || u.Host == "") {
		l.fault("tls.acme.directory", "%q is not the URL of a directory, like https://ca.example.com/acme/acme/directory", l.TLS.ACME.Directory)
	}
	if !own && l.TLS.ACME.CAFile != "" {
		l.fault("tls.acme.ca_file", "tls.acme.directory is missing")
	}
	if l.TLSMode() != TLSACME {
		return
	}
	switch {
	case l.Domain == "":
		l.fault("tls.mode", "acme needs a host name or an IP address in domain")
	case !own && !IsPublicName(l.Domain) && !IsPublicAddress(l.Domain):
		l.fault("tls.mode", "acme needs a public host name or IP address in domain, not %q", l.Domain)
	case len(l.Listen.HTTPS) == 0 && len(l.Listen.HTTP) == 0:
		l.fault("tls.mode", "acme needs listen.https or listen.http: the certificate authority comes in there")
	}
}

// IsPublicAddress tells whether a certificate authority could reach an IP address.
func IsPublicAddress(domain string) bool {
	a, err := netip.ParseAddr(domain)
	return err == nil && a.IsGlobalUnicast() && !a.IsPrivate() && !providersNAT.Contains(a)
}

// providersNAT is what providers use inside (RFC 6598).
var providersNAT = netip.MustParsePrefix("100.64.0.0/10")

// TLSMode is tls.mode with auto decided: off where nothing listens with TLS.
func (c *Config) TLSMode() TLSMode {
	switch {
	case len(c.Listen.HTTPS) == 0 && len(c.Listen.Turns) == 0:
		return TLSOff
	case c.TLS.Mode != TLSAuto:
		return c.TLS.Mode
	case c.TLS.CertFile != "":
		return TLSFiles
	case IsPublicName(c.Domain):
		return TLSACME
	}
	return TLSSelfSigned
}

// IsPublicName tells whether a certificate authority could know the name: a host
// name with a dot, not of a domain that is reserved for private use.
func IsPublicName(domain string) bool {
	if _, err := netip.ParseAddr(domain); err == nil || !strings.Contains(domain, ".") {
		return false
	}
	for _, private := range []string{".local", ".localhost", ".internal", ".lan", ".home.arpa", ".test", ".invalid", ".example"} {
		if strings.HasSuffix(strings.TrimSuffix(domain, "."), private) {
			return false
		}
	}
	return true
}

func (l *loader) validateSecrets() {
	for _, s := range l.secretFiles() {
		if l.broken[s.path] || l.broken[s.filePath] {
			continue
		}
		for i, secret := range *s.list {
			switch {
			case secret == "":
				l.fault(s.path, "entry %d is empty", i+1)
			case slices.Contains((*s.list)[:i], secret):
				l.fault(s.path, "entry %d is there twice", i+1)
			case len(secret) < minSecret && !l.Turn.AllowShortSecret:
				l.fault(s.path, "entry %d has %d bytes, want at least %d (openssl rand -hex 32), or turn.allow_short_secret: true",
					i+1, len(secret), minSecret)
			}
		}
	}
	for _, secret := range l.Signaling.TokenSecrets {
		if secret != "" && slices.Contains(l.Turn.Secrets, secret) {
			l.fault("signaling.token_secrets", "the same as a TURN secret, which other programs know; join tokens need their own")
		}
	}
}

func (l *loader) validateTurn() {
	l.check("turn.realm", func() {
		if len(l.Turn.Realm) > maxRealm || strings.ContainsAny(l.Turn.Realm, "\"\\\r\n\x00") {
			l.fault("turn.realm", "want at most %d bytes without quotes or line breaks", maxRealm)
		}
	})
	l.check("turn.external_ip", func() {
		var v4, v6 int
		for _, e := range l.Turn.ExternalIP {
			if addr, ok := e.Addr(); ok && addr.Is4() {
				v4++
			} else if ok {
				v6++
			}
		}
		if v4 > 1 || v6 > 1 {
			l.fault("turn.external_ip", "more than one address of a family; one of each is used")
		}
	})
	l.validateRelayIPs()
	l.validateDiscovery()
	l.validateUsers()
	l.check("turn.relay_ports", func() {
		if l.Turn.RelayPorts.Min < 1024 {
			l.fault("turn.relay_ports", "%s holds ports below 1024, which belong to system services", l.Turn.RelayPorts)
		}
	})
	l.check("turn.coalesce", func() {
		if l.Turn.Coalesce > maxCoalesce {
			l.fault("turn.coalesce", "%s is longer than %s", l.Turn.Coalesce, maxCoalesce)
		}
	})
	l.check("turn.credential_ttl", func() {
		if l.Turn.CredentialTTL < Duration(time.Minute) {
			l.fault("turn.credential_ttl", "%s is shorter than a minute: calls could not be set up with it", l.Turn.CredentialTTL)
		}
		if l.Turn.CredentialTTL > Duration(24*time.Hour) {
			l.fault("turn.credential_ttl", "%s is longer than a day (24h): clients get new ones in time, and who finds an old one relays with it until then; "+
				"for a program that cannot ask again: rtcd credentials --ttl", l.Turn.CredentialTTL)
		}
	})
	l.check("turn.revoked", func() {
		if slices.Contains(l.Turn.Revoked, "") {
			l.fault("turn.revoked", "an entry is empty; credentials without a user end with their secret")
		}
	})
	l.check("turn.peers.allow", func() {
		if slices.Contains(l.Turn.Peers.Allow, PeersRecommended) {
			l.fault("turn.peers.allow", "recommended is a list of peers to deny")
		}
	})
}

func (l *loader) validateRelayIPs() {
	l.check("turn.relay_ips", func() {
		locals := map[netip.Addr]bool{}
		for _, r := range l.Turn.RelayIPs {
			_, local := r.Addrs()
			if locals[local] {
				l.fault("turn.relay_ips", "%s is there twice", local)
			}
			locals[local] = true
		}
	})
}

func (l *loader) validateDiscovery() {
	d := l.Turn.Discovery
	l.check("turn.discovery.stun", func() {
		if len(d.STUN) == 1 {
			l.fault("turn.discovery.stun", "one server alone may be wrong; write two or more, which have to agree, or \"\" for none")
		}
	})
	l.check("turn.discovery.every", func() {
		if d.Every < Duration(10*time.Second) {
			l.fault("turn.discovery.every", "%s asks others too often; want at least 10s", d.Every)
		}
	})
	l.check("turn.discovery.enabled", func() {
		if d.Enabled && len(d.STUN) == 0 && !d.Metadata {
			l.fault("turn.discovery.enabled", "there is nobody to ask: turn.discovery.stun is empty and turn.discovery.metadata is false")
		}
	})
	l.check("turn.relay_ports", func() {
		r := l.Turn.RelayPorts
		if n := int(r.Max) - int(r.Min) + 1; l.Turn.PortMapping == PortMappingAuto && n > MaxMapped {
			l.fault("turn.relay_ports", "%s are %d ports, and routers forward about %d at most; write %d-%d, or turn.port_mapping: off",
				r, n, MaxMapped, r.Min, int(r.Min)+MaxMapped-1)
		}
	})
}

// MaxMapped is how many relay ports a router is asked to forward at most: many have
// room for no more.
const MaxMapped = 50

// limitMapped makes the relay's ports those that a router can be asked to forward,
// where nobody chose them.
func (l *loader) limitMapped() {
	if _, chosen := l.From["turn.relay_ports"]; chosen || l.Turn.PortMapping != PortMappingAuto {
		return
	}
	l.Turn.RelayPorts.Max = l.Turn.RelayPorts.Min + MaxMapped - 1
	l.From["turn.relay_ports"] = Provenance{Source: "turn.port_mapping"}
}

func (l *loader) validateUsers() {
	l.check("turn.limits.users", func() {
		seen := map[string]bool{}
		for _, u := range l.Turn.Limits.Users {
			if seen[u.Name] {
				l.fault("turn.limits.users", "%q is there twice", u.Name)
			}
			seen[u.Name] = true
		}
	})
}

func (l *loader) validateSignaling() {
	l.check("signaling.public", func() {
		if l.Signaling.Public && l.Signaling.Auth != AuthNone {
			l.fault("signaling.public", "has a meaning only with signaling.auth: none")
		}
	})
	l.check("signaling.max_members", func() {
		if l.Signaling.MaxMembers == 1 {
			l.fault("signaling.max_members", "a room of one member is of no use; write 2 or more, or 0 for unlimited")
		}
	})
	l.check("signaling.limits.message_bytes", func() {
		if n := l.Signaling.Limits.MessageBytes; n > 0 && n < 4<<10 {
			l.fault("signaling.limits.message_bytes", "%s is too little for a session description; want at least 4KiB", n)
		}
	})
}

// maxRealm is the longest turn.realm: every answer to a stranger carries it.
const maxRealm = 56

func (l *loader) validateAccounting() {
	a := l.Accounting
	l.check("accounting.file", func() {
		if a.File != "" && a.File != AccountingAuto && !strings.HasSuffix(a.File, ".jsonl") {
			l.fault("accounting.file", "%q: want auto, \"\" or a path that ends with .jsonl", a.File)
		}
	})
	l.check("accounting.size", func() {
		if a.Size > 0 && a.Size < 1<<20 {
			l.fault("accounting.size", "%s is too little to find anything in; want at least 1MiB, or 0 for any", a.Size)
		}
	})
	l.check("accounting.interim", func() {
		if a.Interim > 0 && a.Interim < Duration(time.Second) {
			l.fault("accounting.interim", "%s is too often; want at least 1s, or 0 for never", a.Interim)
		}
	})
}

// validateEndpoints checks the addresses of an operator's own servers, which the
// configuration alone names.
func (l *loader) validateEndpoints() {
	s := l.Signaling
	for path, address := range map[string]string{
		"signaling.jwks.source": s.JWKS.Source, "signaling.webhook.url": s.Webhook.URL, "accounting.webhook": l.Accounting.Webhook,
	} {
		l.check(path, func() {
			if path == "signaling.jwks.source" && !strings.Contains(address, "://") {
				return // a file
			}
			if err := checkEndpoint(address); err != nil {
				l.fault(path, "%q: %s", address, err)
			}
		})
	}
	l.check("signaling.jwks.refresh", func() {
		if s.JWKS.Refresh < Duration(time.Minute) {
			l.fault("signaling.jwks.refresh", "%s is too often; want at least 1m", s.JWKS.Refresh)
		}
	})
	l.check("signaling.webhook.timeout", func() {
		if t := s.Webhook.Timeout; t < Duration(100*time.Millisecond) || t > Duration(8*time.Second) {
			l.fault("signaling.webhook.timeout", "%s: want 100ms to 8s, for who joins waits as long", t)
		}
	})
	l.check("signaling.webhook.cache", func() {
		if s.Webhook.Cache > Duration(time.Hour) {
			l.fault("signaling.webhook.cache", "%s: want at most 1h, for as long nobody can be shut out", s.Webhook.Cache)
		}
	})
}

// checkEndpoint wants https, or http on this machine or in a private network: what is sent
// there is about people.
func checkEndpoint(address string) error {
	if address == "" {
		return nil
	}
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return errors.New("want an address like https://app.example.com/hook")
	case u.User != nil || u.Fragment != "":
		return errors.New("want no password and no fragment in it; requests are signed")
	case u.Scheme == "http" && !isNear(u.Hostname()):
		return errors.New("want https: it is not on this machine or in a private network")
	}
	return nil
}

// isNear tells whether a host is this machine, in a private network, or a name without a
// dot, as containers have.
func isNear(host string) bool {
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.IsLoopback() || addr.IsPrivate()
	}
	return !strings.Contains(host, ".") || strings.HasSuffix(host, ".internal") || strings.HasSuffix(host, ".local")
}

// maxCoalesce is the longest turn.coalesce.
const maxCoalesce = Duration(200 * time.Microsecond)
