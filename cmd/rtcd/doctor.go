package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"rtcd/config"
	"rtcd/creds"
	"rtcd/probe"
)

func (d *doctor) examineSecrets() {
	s, err := loadSecrets(d.config)
	if err != nil {
		d.row(fail, "secrets", err.Error(), "give turn.secret_file and signaling.token_secret_file, or a state directory that can be written (STATE_DIRECTORY)")
		return
	}
	d.secrets = s
	for _, what := range []string{"turn", "token"} {
		n := len(s.turn)
		if what == "token" {
			n = len(s.token)
		}
		d.row(ok, "secrets", fmt.Sprintf("%s: %d from %s", what, n, s.sources[what]), "")
	}
	if s.allowShort {
		d.row(warn, "secrets", "turn.allow_short_secret is on: whoever sees one credential can guess a short secret", "openssl rand -hex 32")
	}
	dir, _ := stateDir()
	for _, name := range []string{turnSecretFile, tokenSecretFile, masterKeyFile} {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o077 != 0 {
			d.row(warn, "secrets", fmt.Sprintf("%s has mode %04o", path, info.Mode().Perm()), "chmod 600 "+path)
		}
	}
}

func (d *doctor) examineAddresses(ctx context.Context) {
	addrs, err := externals(ctx, d.config.Turn.ExternalIP)
	if err != nil {
		d.row(fail, "address", err.Error(), "set turn.external_ip to the public address")
		return
	}
	d.externals = addrs
	if len(addrs) == 0 {
		d.row(fail, "address", "none is known for relayed traffic", "set turn.external_ip")
	}
	for _, a := range addrs {
		detail := fmt.Sprintf("%s (%s)", a.Public, a.Why)
		switch {
		case isPublic(a.Public):
			d.row(ok, "address", detail, "")
		case sharedSpace.Contains(a.Public):
			d.row(warn, "address", detail+" is behind the provider's NAT", "a relay cannot be reached here from outside; use a server with a public address")
		default:
			d.row(warn, "address", detail+" is only reachable inside this network",
				"for calls from outside set turn.external_ip to the public address and forward the ports")
		}
	}
	d.examineDomain(ctx)
}

// examineDomain compares what the domain resolves to with the addresses.
func (d *doctor) examineDomain(ctx context.Context) {
	if _, err := netip.ParseAddr(d.config.Domain); err == nil || d.config.Domain == "" {
		return
	}
	found, err := lookup(ctx, d.config.Domain)
	if err != nil {
		d.row(fail, "domain", fmt.Sprintf("%s does not resolve", d.config.Domain), "publish an A or AAAA record for it")
		return
	}
	for _, f := range found {
		if !slices.ContainsFunc(d.externals, func(e external) bool { return e.Public == f }) {
			d.row(warn, "domain", fmt.Sprintf("%s resolves to %s, which is none of our addresses", d.config.Domain, f),
				"mend the DNS record, or set turn.external_ip")
			continue
		}
		d.row(ok, "domain", fmt.Sprintf("%s resolves to %s", d.config.Domain, f), "")
	}
}

// examineListeners tries to bind every address, unless our own server has them.
func (d *doctor) examineListeners(ctx context.Context) {
	c := d.config
	d.running = adminAnswers(ctx, c.Listen.Admin)
	for _, l := range []struct {
		name  string
		addrs []config.Address
		udp   bool
	}{
		{"https", c.Listen.HTTPS, false},
		{"http", c.Listen.HTTP, false},
		{"turn", c.Listen.Turn, true},
		{"turns", c.Listen.Turns, true},
		{"admin", c.Listen.Admin, false},
	} {
		for _, a := range l.addrs {
			if _, unix := a.Unix(); unix {
				continue
			}
			d.examinePort("tcp", l.name, a)
			if l.udp {
				d.examinePort("udp", l.name, a)
			}
		}
	}
}

func (d *doctor) examinePort(network, name string, a config.Address) {
	where := fmt.Sprintf("listen.%s %s/%s", name, a, network)
	err := tryListen(network, string(a))
	port := int(a.AddrPort().Port())
	holder := portHolder(network, port)
	switch {
	case err == nil && !(network == "udp" && holder != "" && d.running):
		d.row(ok, "port", where+" is free", "")
	case err == nil || isTaken(err) && d.running && (holder == "" || strings.HasPrefix(holder, "rtcd,")):
		d.row(ok, "port", where+" is in use by a running rtcd", "")
	case isTaken(err):
		who := "another program"
		if holder != "" {
			who = holder
		}
		d.row(fail, "port", fmt.Sprintf("%s is held by %s", where, who), "stop it, or choose another port in listen."+name)
	case errors.Is(err, syscall.EACCES):
		d.row(fail, "port", where+" needs a privilege", "setcap cap_net_bind_service=+ep on the binary, or deploy/rtcd.service")
	default:
		d.row(fail, "port", where+": "+err.Error(), "listen on an address that this machine has")
	}
}

func tryListen(network, address string) error {
	if network == "udp" {
		c, err := net.ListenPacket("udp", address)
		if err == nil {
			c.Close()
		}
		return err
	}
	l, err := net.Listen("tcp", address)
	if err == nil {
		l.Close()
	}
	return err
}

// adminAnswers tells whether an rtcd serves on the admin addresses.
func adminAnswers(ctx context.Context, addrs []config.Address) bool {
	for _, a := range addrs {
		client := http.Client{Timeout: 2 * time.Second}
		url := "http://" + string(a) + "/healthz"
		if path, unix := a.Unix(); unix {
			client.Transport = &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, "unix", path)
			}, DisableKeepAlives: true}
			url = "http://localhost/healthz"
		}
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			continue
		}
		if answer, err := client.Do(r); err == nil {
			answer.Body.Close()
			client.CloseIdleConnections()
			return answer.StatusCode == http.StatusOK
		}
	}
	return false
}

func (d *doctor) examineMachine() {
	r := d.config.Turn.RelayPorts
	ports := int(r.Max) - int(r.Min) + 1
	if low, high, ok1 := localPortRange(); ok1 && low <= r.Max && r.Min <= high && !reserved(max(low, r.Min), min(high, r.Max)) {
		d.row(warn, "relay ports", fmt.Sprintf("%s overlap with the ports that the kernel gives to other programs (%d-%d)", r, low, high),
			fmt.Sprintf("sysctl -w net.ipv4.ip_local_reserved_ports=%d-%d", max(low, r.Min), min(high, r.Max)))
	} else {
		d.row(ok, "relay ports", fmt.Sprintf("%s, %d of them", r, ports), "")
	}
	if have, ok1 := openFiles(); ok1 {
		want := uint64(2*ports + 1024)
		if have < want {
			d.row(warn, "open files", fmt.Sprintf("at most %d, which allows about %d allocations", have, have/2),
				fmt.Sprintf("LimitNOFILE=%d in the unit, or ulimit -n", want))
		} else {
			d.row(ok, "open files", fmt.Sprintf("at most %d", have), "")
		}
	}
}

func (d *doctor) examineCertificate() {
	c := d.config
	mode := c.TLSMode()
	switch mode {
	case config.TLSOff:
		d.row(ok, "tls", "off: nothing listens with TLS; browsers give camera and microphone only to https and to localhost", "")
		return
	case config.TLSACME:
		d.row(fail, "tls", errNoACME.Error(), "")
		return
	}
	leaf, err := certificate(c, d.externals)
	if err != nil {
		d.row(fail, "tls", err.Error(), "get a certificate (rtcd init prints a certbot command), or set tls.cert_file and tls.key_file")
		return
	}
	left := time.Until(leaf.NotAfter)
	detail := fmt.Sprintf("%s, certificate valid until %s", mode, leaf.NotAfter.Format(time.DateOnly))
	switch {
	case left <= 0:
		d.row(fail, "tls", "the certificate has expired on "+leaf.NotAfter.Format(time.DateOnly), "renew it")
	case c.Domain != "" && leaf.VerifyHostname(c.Domain) != nil:
		d.row(fail, "tls", fmt.Sprintf("the certificate is not for %s", c.Domain), "get one for that name")
	case mode == config.TLSSelfSigned:
		d.row(warn, "tls", detail+"; browsers will ask, and turns: is not handed out", "use a certificate of a public authority")
	case left < 7*24*time.Hour:
		d.row(warn, "tls", detail, "renew it")
	default:
		d.row(ok, "tls", detail, "")
	}
}

// certificate is the one that clients would see.
func certificate(c *config.Loaded, addrs []external) (*x509.Certificate, error) {
	source, err := newCertSource(c, addrs, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	cert, err := source.get(nil)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(cert.Certificate[0])
}

// examineRelay probes the running server on each of its own transports.
func (d *doctor) examineRelay(ctx context.Context) {
	if d.secrets == nil || len(d.externals) == 0 {
		return
	}
	keys, err := d.secrets.keys(realm(d.config))
	if err != nil {
		d.row(fail, "probe", err.Error(), "")
		return
	}
	pair := keys.Issue(creds.PrefixCheck+"doctor", creds.CheckTTL, time.Now())
	stun, turn := iceURLs(d.config, configuredEndpoints(d.config), d.externals)
	for _, u := range slices.Concat(stun, turn) {
		target, err := probe.ParseURL(u)
		if err != nil {
			d.row(fail, "probe", err.Error(), "")
			continue
		}
		// From inside, because many routers do not lead back to the public address.
		r := probe.Run(ctx, target, probe.Options{
			Username: pair.Username, Credential: pair.Password, Packets: 10, Timeout: 3 * time.Second,
			Address: d.inside(target),
		})
		switch {
		case !r.OK:
			d.row(fail, "probe", fmt.Sprintf("%s: %s: %s", u, r.Problem.Step, r.Problem.Reason), r.Problem.Remedy)
		case r.Echo != nil && r.Echo.Loss > 0:
			d.row(warn, "probe", fmt.Sprintf("%s: %.0f %% of the packets are lost", u, 100*r.Echo.Loss), "look at the CPU load and at rtcd_turn_dropped_packets_total")
		case r.Echo != nil:
			d.row(ok, "probe", fmt.Sprintf("%s relays, %.1f ms there and back", u, r.Echo.MedianMs), "")
		default:
			d.row(ok, "probe", u+" answers", "")
		}
	}
}

// inside is the address on this machine of a listener that an ICE URL names.
func (d *doctor) inside(t probe.Target) string {
	for _, a := range slices.Concat(d.config.Listen.Turn, d.config.Listen.Turns) {
		if ap := a.AddrPort(); int(ap.Port()) == t.Port && !ap.Addr().IsUnspecified() {
			return ap.Addr().String()
		}
	}
	for _, e := range d.externals {
		if e.Public.String() == t.Host {
			return e.Local.String()
		}
	}
	return d.externals[0].Local.String()
}
