package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"rtcd/creds"
	"rtcd/probe"
	"rtcd/selftest"
	"rtcd/turnsrv/relay"
)

// newOwnUser is the user part of the self-test's credentials. It is not to be guessed,
// since no quota counts it.
func newOwnUser() string { return creds.PrefixCheck + "self." + rand.Text() }

// newSelfTest makes what tests the advertised URLs.
func (a *app) newSelfTest() *selftest.Tester {
	return selftest.New(selftest.Options{
		Every: func() time.Duration {
			a.mu.Lock()
			defer a.mu.Unlock()
			return time.Duration(a.config.SelfTest)
		},
		URLs:     func() []string { return a.minter().advertised },
		Pause:    func() bool { return a.life.draining.Load() },
		Probe:    a.probeOwn,
		OnChange: a.urlsChanged,
		Log:      a.log,
	})
}

// urlsChanged has the URLs that work handed out, to those who are here too.
func (a *app) urlsChanged() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.putSite(false)
}

// probeOwn uses one of our URLs as a client would. Where the URL's host does not lead
// to this machine, as behind NAT, it goes to the listener's own address; certificates
// are checked for the URL's host all the same.
func (a *app) probeOwn(ctx context.Context, url string) (*probe.Report, bool) {
	target, err := probe.ParseURL(url)
	if err != nil {
		return &probe.Report{URL: url, Problem: &probe.Problem{Step: "url", Reason: err.Error(), Remedy: "mend the configuration"}}, true
	}
	address, note, sure := a.insideOf(ctx, target)
	pair := a.keys.Issue(a.ownUser, time.Minute, time.Now())
	o := probe.Options{
		Username: pair.Username, Credential: pair.Password, Address: address, AnyAuthority: true,
		Packets: 5, Timeout: 3 * time.Second,
	}
	if address != "" { // straight to our own listener
		o.Dial = a.proxies.Dial
	}
	report := probe.Run(ctx, target, o)
	if note != "" {
		report.Notes = append(report.Notes, note)
	}
	return report, sure
}

// insideOf tells by which address this machine reaches the URL's listener, "" for
// as the URL says, and whether a failure there is the URL's.
func (a *app) insideOf(ctx context.Context, t probe.Target) (address, note string, sure bool) {
	a.mu.Lock()
	addrs, written := slices.Clone(a.externals), len(a.config.Turn.URLs) > 0
	a.mu.Unlock()
	at, ours := a.listenerOf(t)
	if !ours {
		return "", "no listener of ours has this port; it is tested by way of the network", false
	}
	if !at.IsUnspecified() {
		return at.String(), "", true
	}
	found := resolveHost(ctx, t.Host)
	for _, f := range found {
		if ownAddress(f) {
			return f.String(), "", true // the name leads here without help
		}
	}
	switch foreign := !slices.ContainsFunc(addrs, func(e external) bool { return slices.Contains(found, e.Public) }); {
	case foreign && written && len(found) > 0:
		return "", "it leads to another machine (turn.urls)", false
	case len(found) == 0:
		note = fmt.Sprintf("the name %s does not resolve on this machine", t.Host)
	case foreign:
		note = fmt.Sprintf("%s is %v here, which is none of our addresses", t.Host, found[0])
	}
	for _, e := range addrs {
		if len(found) == 0 || slices.Contains(found, e.Public) || found[0].Is4() == e.Local.Is4() {
			return e.Local.String(), note, true
		}
	}
	return "127.0.0.1", note, true
}

// ownAddress tells whether an interface of this machine has an address.
func ownAddress(a netip.Addr) bool {
	list, err := net.InterfaceAddrs()
	return err == nil && slices.ContainsFunc(list, func(have net.Addr) bool {
		p, err := netip.ParsePrefix(have.String())
		return err == nil && p.Addr().Unmap().WithZone("") == a
	})
}

// listenerOf is the address of the listener of ours that has the URL's port.
func (a *app) listenerOf(t probe.Target) (netip.Addr, bool) {
	var bound []netip.AddrPort
	switch t.Transport {
	case "udp":
		bound = a.turn.Addrs(relay.UDP)
	case "tcp":
		bound = slices.Concat(a.turn.Addrs(relay.TCP), a.http.addrs())
	case "tls":
		bound = slices.Concat(a.turn.Addrs(relay.TLS), a.https.addrs())
	case "dtls":
		bound = a.turn.Addrs(relay.DTLS)
	}
	for _, b := range bound {
		if int(b.Port()) == t.Port {
			return b.Addr().Unmap(), true
		}
	}
	return netip.Addr{}, false
}

// resolveHost is what the system's resolver says, nothing where it fails.
func resolveHost(ctx context.Context, host string) []netip.Addr {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil
	}
	for i := range found {
		found[i] = found[i].Unmap()
	}
	return found
}

// adminURL is one URL of GET /api/v1/status, with what its last self-test showed.
type adminURL struct {
	URL     string     `json:"url"`
	State   string     `json:"state"`        // untested, up, failing (once), down (not handed out) or unknown
	At      *time.Time `json:"at,omitempty"` // of the last test
	Millis  float64    `json:"rtt_ms,omitempty"`
	Problem string     `json:"problem,omitempty"`
	Remedy  string     `json:"remedy,omitempty"`
	Notes   []string   `json:"notes,omitempty"`
}

// stateOf puts a result into a word.
func stateOf(r selftest.Result) string {
	switch {
	case r.Up:
		return "up"
	case r.Down:
		return "down"
	case !r.Judged():
		return "unknown"
	}
	return "failing"
}

// adminURLs are all advertised URLs and how they fare.
func (a *app) adminURLs() []adminURL {
	results, _ := a.tester.Results()
	out := []adminURL{}
	for _, url := range a.minter().advertised {
		u := adminURL{URL: url, State: "untested"}
		if i := slices.IndexFunc(results, func(r selftest.Result) bool { return r.URL == url }); i >= 0 {
			r := results[i]
			at := r.At.UTC().Truncate(time.Second)
			u = adminURL{url, stateOf(r), &at, r.RTT, r.Problem, r.Remedy, r.Notes}
		}
		out = append(out, u)
	}
	return out
}

// infoSelfTest is what GET /api/v1/info tells everybody of the self-test: which URLs
// work, not why one does not.
type infoSelfTest struct {
	At   time.Time         `json:"at"`
	URLs map[string]string `json:"urls"` // URL → up, failing, down or unknown
}

// infoTest is nil before the first round.
func (a *app) infoTest() *infoSelfTest {
	results, last := a.tester.Results()
	if last.IsZero() || len(results) == 0 {
		return nil
	}
	out := &infoSelfTest{At: last.UTC().Truncate(time.Second), URLs: map[string]string{}}
	for _, r := range results {
		out.URLs[r.URL] = stateOf(r)
	}
	return out
}
