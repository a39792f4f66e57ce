package main

import (
	"encoding/json"
	"encoding/pem"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"rtcd/creds"
	"rtcd/web"
)

// caFile is the certificate of the app as --ca wants it.
func (r *running) caFile() string {
	r.t.Helper()
	cert, err := r.cert.get(nil)
	if err != nil {
		r.t.Fatal(err)
	}
	name := filepath.Join(r.t.TempDir(), "ca.pem")
	if err := os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Leaf.Raw}), 0o600); err != nil {
		r.t.Fatal(err)
	}
	return name
}

// On the server's own machine the admin endpoint explains, with no URL given all that
// the server advertises.
func TestProbeExplainsByTheAdminEndpoint(t *testing.T) {
	a := newRunning(t, io.Discard, loopback(t), lookup)
	a.serve()
	defer a.end()
	out := a.command(exitDone, "probe", "--explain", "--packets", "5")
	if n := len(a.minter().advertised); strings.Count(out, "      server: ") != n || n < 3 {
		t.Errorf("want each of %d URLs explained:\n%s", n, out)
	}
	for _, want := range []string{"server: address told", "server: relay port opened 127.0.0.1:", "challenged 401", "permitted", "closed"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
}

// The bearer of a join token is told by the site; the words are those of the check page.
func TestProbeExplainsByTheSite(t *testing.T) {
	a := newRunning(t, io.Discard, strings.Replace(loopback(t), "port_rest: 0}", "port_rest: 0, limits: {allocations_per_ip: 1}}", 1), lookup)
	other, err := creds.NewKeys(creds.KeysOptions{Secrets: []string{newSecret()}})
	if err != nil {
		t.Fatal(err)
	}
	right := a.minter().keys
	a.serve()
	defer a.end()
	explain := func(code int, args ...string) string {
		args = append([]string{"probe", "--explain", "--server", a.site("https"), "--ca", a.caFile(), "--token", a.token("x"), "--timeout", "2s"}, args...)
		return a.command(code, args...)
	}
	url := a.minter().turn[0]

	out := explain(exitFailed, url) // the second allocation is one too many
	if !strings.Contains(out, "server: All allocations of your address are taken.") || !strings.Contains(out, "server's remedy: Others behind the same router count too.") {
		t.Errorf("a quota:\n%s", out)
	}
	a.minter().keys = other // as where the site has another secret than the relay
	out = explain(exitFailed, url)
	a.minter().keys = right
	if !strings.Contains(out, "server: The password does not belong to the user name.") || !strings.Contains(out, "rtcd reload") {
		t.Errorf("another secret:\n%s", out)
	}
	silent, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	out = explain(exitFailed, "turn:"+silent.LocalAddr().String())
	if !strings.Contains(out, "server: Nothing came from your address (127.0.0.1) to UDP ") || !strings.Contains(out, "ufw allow ") {
		t.Errorf("what leads elsewhere:\n%s", out)
	}
	var reports []explanation
	if err := json.Unmarshal([]byte(explain(exitFailed, "--json", url)), &reports); err != nil {
		t.Fatal(err)
	}
	if len(reports) != 1 || !strings.HasPrefix(reports[0].Server.Code, "quota-") || len(reports[0].Server.Seen) < 3 {
		t.Errorf("%+v", reports)
	}
}

// Where nobody explains, the probe says what it cannot know.
func TestProbeSaysWhatItCannotKnow(t *testing.T) {
	a := newRunning(t, io.Discard, loopback(t), lookup)
	a.serve()
	defer a.end()
	stun := a.minter().stun[0]
	out := a.command(exitDone, "probe", "--explain", "--server", a.site("https"), "--ca", a.caFile(), "--token", "forged", stun)
	if !strings.Contains(out, "What the server saw is not known") || !strings.Contains(out, "a join token is needed") || !strings.Contains(out, "ok    "+stun) {
		t.Error(out)
	}
	if out := a.command(exitUsage, "probe", "--explain", "--username", "x", stun); !strings.Contains(out, "leave --username out") {
		t.Error(out)
	}
}

// Every code of a view has its words, in both languages.
func TestViewsHaveWords(t *testing.T) {
	for _, language := range []string{"en", "zh"} {
		words, err := web.LoadWords(language)
		if err != nil {
			t.Fatal(err)
		}
		for _, code := range []string{
			"nothing", "elsewhere", "answer-lost", "tls-alert", "tls-failed", "tls-late", "stuck", "bad_password", "expired", "revoked", "malformed",
			"wrong_realm", "quota-user", "quota-address", "quota-total", "quota-pace", "ports", "draining", "limited", "refused", "peer-refused", "one-way",
		} {
			if words["seen."+code] == "" || code != "refused" && words["seen-remedy."+code] == "" {
				t.Errorf("%s: no words for %q", language, code)
			}
		}
	}
}
