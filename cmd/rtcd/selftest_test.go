package main

import (
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"rtcd/creds"
	"rtcd/selftest"
	"rtcd/signaling"
)

// fetch gets a page of the admin endpoint or of the site.
func (r *running) fetch(base, path string) (status int, body string) {
	r.t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	answer, err := client.Get(base + path)
	if err != nil {
		r.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return answer.StatusCode, string(text)
}

// hourly switches the self-test on, so that the test itself makes its rounds.
func hourly(text string) string { return strings.Replace(text, "self_test: 0", "self_test: 1h", 1) }

func (r *running) adminBase() string { return "http://" + r.admin.listeners[0].Addr().String() }

// The server uses its own URLs over every transport; no quota counts it and no event
// tells of it, and what it found stands everywhere.
func TestSelfTestOfAServerThatWorks(t *testing.T) {
	var log logBook
	text := strings.Replace(loopback(t), "port_rest: 0}", "port_rest: 0, limits: {allocations: 1, allocations_per_user: 1, allocations_per_ip: 1}}", 1)
	a := newRunning(t, &log, hourly(text), lookup)
	a.serve()
	defer a.end()
	if a.tester.Round(t.Context()) {
		t.Error("a server that works fails its own test")
	}
	results, last := a.tester.Results()
	if len(results) != len(a.minter().advertised) || len(results) < 3 || last.IsZero() {
		t.Fatalf("%d results of %d URLs", len(results), len(a.minter().advertised))
	}
	for _, r := range results {
		if !r.Up || !r.Sure || strings.HasPrefix(r.URL, "turn") && r.RTT == 0 {
			t.Errorf("%+v", r)
		}
	}
	if strings.Contains(log.String(), "allocation made") {
		t.Error("an event tells of the self-test")
	}
	a.eventually("what the test allocated is given back", func() bool { return a.turn.Len() == 0 })
	if err := a.allocate(a.minter().Mint("somebody").Servers[1]); err != nil {
		t.Errorf("the only place of the quota is not free: %v", err)
	}
	if a.tester.Round(t.Context()) {
		t.Error("the test fails where the quota is used up: it must not count")
	}
	status, body := a.fetch(a.adminBase(), "/metrics")
	if status != http.StatusOK || strings.Count(body, "\nrtcd_selftest_up{") != len(results) || strings.Contains(body, "rtcd_selftest_last_timestamp_seconds 0\n") {
		t.Errorf("metrics: %d\n%s", status, body)
	}
	if out := a.command(exitDone, "status"); strings.Count(out, "  up\n") != len(results) {
		t.Errorf("status:\n%s", out)
	}
}

// writeCertificate writes one for this machine that holds for 397 days.
func writeCertificate(t *testing.T, dir string, issued time.Time) {
	t.Helper()
	certificateFor(t, dir, net.IPv4(127, 0, 0, 1), issued)
}

func certificateFor(t *testing.T, dir string, ip net.IP, issued time.Time) {
	t.Helper()
	certPEM, keyPEM, err := makeCertificate([]string{"localhost"}, []net.IP{ip}, issued)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"fullchain.pem": certPEM, "privkey.pem": keyPEM} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// A certificate ends: the URL fails as it does in browsers, is no longer handed out, the
// members hear of it, and once the certificate is renewed it is back.
func TestAURLThatFailsIsNotHandedOut(t *testing.T) {
	var log logBook
	dir := t.TempDir()
	writeCertificate(t, dir, time.Now().Add(-400*24*time.Hour))
	text := loopback(t) + fmt.Sprintf("tls: {cert_file: %q, key_file: %q}\n",
		filepath.Join(dir, "fullchain.pem"), filepath.Join(dir, "privkey.pem"))
	a := newRunning(t, &log, hourly(text), lookup)
	writeCertificate(t, dir, time.Now())
	if _, err := a.reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	a.roots.AddCert(mustLeaf(t, a))
	a.serve()
	defer a.end()
	isTLS := func(url string) bool { return strings.HasPrefix(url, "turns:") }
	member, _ := a.join("lobby")
	pushed := func() (urls []string) { // what the member hears next of the ICE servers
		t.Helper()
		var m struct {
			Type       string
			ICEServers []signaling.ICEServer
		}
		for m.Type != "ice" {
			if err := member.ReadJSON(&m); err != nil {
				t.Fatal(err)
			}
		}
		for _, s := range m.ICEServers {
			urls = append(urls, s.URLs...)
		}
		return urls
	}

	writeCertificate(t, dir, time.Now().Add(-400*24*time.Hour))
	if _, err := a.reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !a.tester.Round(t.Context()) || !slices.ContainsFunc(a.minter().turn, isTLS) {
		t.Error("the first failure: want it seen, and the URL kept")
	}
	a.tester.Round(t.Context())
	if slices.ContainsFunc(a.minter().turn, isTLS) || !slices.ContainsFunc(a.minter().advertised, isTLS) || len(a.minter().turn) < 2 {
		t.Errorf("after the second: %q of %q", a.minter().turn, a.minter().advertised)
	}
	if urls := pushed(); slices.ContainsFunc(urls, isTLS) || len(urls) < 3 {
		t.Errorf("the member was told %q", urls)
	}
	if a.tester.Broken() {
		t.Error("one URL fails, the others work, and the server counts as broken")
	}
	if !strings.Contains(log.String(), "certificate has expired") || strings.Count(log.String(), "no longer handed out") != 1 {
		t.Errorf("log:\n%s", log.String())
	}
	var told info
	w := httptest.NewRecorder()
	a.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/api/v1/info", nil))
	body := w.Body.String()
	if err := json.Unmarshal([]byte(body), &told); err != nil || told.SelfTest == nil {
		t.Fatalf("info: %v %s", err, body)
	}
	for url, state := range told.SelfTest.URLs {
		if want := map[bool]string{true: "down", false: "up"}[isTLS(url)]; state != want {
			t.Errorf("info says that %s is %s", url, state)
		}
	}
	if strings.Contains(body, "expired") {
		t.Errorf("info tells everybody why: %s", body)
	}

	writeCertificate(t, dir, time.Now())
	if _, err := a.reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if a.tester.Round(t.Context()) {
		t.Error("a renewed certificate fails")
	}
	if urls := pushed(); !slices.ContainsFunc(urls, isTLS) {
		t.Errorf("it works again, and the member was told %q", urls)
	}
}

// Names are verified as browsers do; an authority that this machine does not know is only
// noted, for the clients may know it.
func TestSelfTestLooksAtCertificates(t *testing.T) {
	dir := t.TempDir()
	writeCertificate(t, dir, time.Now())
	a := newRunning(t, io.Discard, hourly(loopback(t))+fmt.Sprintf("tls: {cert_file: %q, key_file: %q}\n",
		filepath.Join(dir, "fullchain.pem"), filepath.Join(dir, "privkey.pem")), lookup)
	a.serve()
	defer a.end()
	overTLS := func() selftest.Result {
		t.Helper()
		a.tester.Round(t.Context())
		results, _ := a.tester.Results()
		i := slices.IndexFunc(results, func(r selftest.Result) bool { return strings.HasPrefix(r.URL, "turns:") })
		if i < 0 {
			t.Fatalf("no turns: among %+v", results)
		}
		return results[i]
	}
	if r := overTLS(); !r.Up || !strings.Contains(strings.Join(r.Notes, " "), "authority that this machine does not know") {
		t.Errorf("of an unknown authority: %+v", r)
	}
	certificateFor(t, dir, net.IPv4(203, 0, 113, 9), time.Now())
	if _, err := a.reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r := overTLS(); r.Up || !strings.Contains(r.Problem, "for another name") {
		t.Errorf("for another name: %+v", r)
	}
}

// mustLeaf is the certificate in use.
func mustLeaf(t *testing.T, a *running) *x509.Certificate {
	t.Helper()
	cert, err := a.cert.get(nil)
	if err != nil {
		t.Fatal(err)
	}
	return cert.Leaf
}

// Not one TURN URL works: whoever asks is told that the server is not ready, but what it
// has it hands out.
func TestAServerThatRelaysNothingIsNotReady(t *testing.T) {
	a := newRunning(t, io.Discard, hourly(loopback(t)), lookup)
	a.serve()
	defer a.end()
	other, err := creds.NewKeys(creds.KeysOptions{Secrets: []string{newSecret()}})
	if err != nil {
		t.Fatal(err)
	}
	works := a.keys
	a.keys = other // as after a secret that only one half has taken up
	a.tester.Round(t.Context())
	a.tester.Round(t.Context())
	if status, body := a.fetch(a.adminBase(), "/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(body, "self-test") {
		t.Errorf("%d %s", status, body)
	}
	if m := a.minter(); len(m.turn) < 2 || len(m.turn)+len(m.stun) != len(m.advertised) {
		t.Errorf("handed out: %q", m.turn)
	}
	a.keys = works
	a.tester.Round(t.Context())
	if status, body := a.fetch(a.adminBase(), "/readyz"); status != http.StatusOK {
		t.Errorf("%d %s", status, body)
	}
}
