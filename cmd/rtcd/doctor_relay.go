package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"

	"rtcd/creds"
	"rtcd/mux"
	"rtcd/probe"
)

// examinePeers looks at whom clients may reach. Relayed addresses of this server reach
// each other whatever the lists say.
func (d *doctor) examinePeers() {
	c := d.config
	allow, deny := prefixes(c.Turn.Peers.Allow), prefixes(c.Turn.Peers.Deny)
	reached := func(a netip.Addr) bool {
		in := func(p netip.Prefix) bool { return p.Contains(a) }
		return slices.ContainsFunc(allow, in) || !slices.ContainsFunc(deny, in)
	}
	var open []string
	for _, p := range []struct{ addr, what string }{
		{"169.254.169.254", "the cloud's metadata"},
		{"127.0.0.1", "this machine itself"},
		{"::1", "this machine itself"},
		{"10.0.0.1", "private networks"},
		{"172.16.0.1", "private networks"},
		{"192.168.0.1", "private networks"},
		{"fd00::1", "private networks"},
	} {
		if reached(netip.MustParseAddr(p.addr)) && !slices.Contains(open, p.what) {
			open = append(open, p.what)
		}
	}
	public := false
	for _, a := range []string{"192.0.1.1", "8.0.0.1", "203.0.0.1", "2001:500::1", "2a00::1"} { // hosts of the internet
		public = public || reached(netip.MustParseAddr(a))
	}
	switch {
	case len(open) > 0:
		d.row(warn, "peers", fmt.Sprintf("whoever has credentials reaches %s through the relay", sentence(open)),
			"turn.peers: {allow: [], deny: [recommended]}, and in allow only the hosts that clients need")
	case !public:
		d.row(warn, "peers", "turn.peers.deny covers the internet: only clients that both use this relay reach each other",
			"turn.peers: {deny: [recommended]}, unless that is what you want")
	default:
		d.row(ok, "peers", "private and special addresses are refused; clients of this relay reach each other", "")
	}
}

// sentence joins words: "a, b and c".
func sentence(words []string) string {
	switch n := len(words); n {
	case 0:
		return ""
	case 1:
		return words[0]
	default:
		return strings.Join(words[:n-1], ", ") + " and " + words[n-1]
	}
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
			Address: d.inside(target), Dial: mux.NewProxies(networks(d.config.Listen.ProxyProtocol), slog.New(slog.DiscardHandler)).Dial,
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

// inside is the address on this machine of a listener that an ICE URL names; "" where
// the URL, one of turn.urls, leads to somebody who leads here.
func (d *doctor) inside(t probe.Target) string {
	ours := false
	for _, a := range slices.Concat(d.config.Listen.Turn, d.config.Listen.Turns, d.config.Listen.HTTPS, d.config.Listen.HTTP) {
		ap := a.AddrPort()
		if int(ap.Port()) == t.Port && !ap.Addr().IsUnspecified() {
			return ap.Addr().String()
		}
		ours = ours || int(ap.Port()) == t.Port
	}
	if !ours {
		return ""
	}
	for _, e := range d.externals {
		if e.Public.String() == t.Host {
			return e.Local.String()
		}
	}
	return d.externals[0].Local.String()
}
