package main

import (
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"rtcd/probe"
	"rtcd/turnsrv/relay"
)

// tlsOnly is the profile as deploy/README.md has it.
func tlsOnly(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile("../../deploy/README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "\n## TLS only\n")
	_, block, _ := strings.Cut(section, "```yaml\n")
	block, _, found := strings.Cut(block, "```\n")
	if !found {
		t.Fatal("deploy/README.md has no configuration below its heading TLS only")
	}
	return block
}

// TestTLSOnly: the profile starts with nothing of TURN's own ports, tells clients of turns: alone,
// and relays there.
func TestTLSOnly(t *testing.T) {
	profile := tlsOnly(t)
	want := []string{"turns:rtc.example.com:443?transport=tcp"}
	stun, turn := iceURLs(loadText(t, profile), endpoints{https: 443, trusted: true}, nil)
	if len(stun) != 0 || !slices.Equal(turn, want) {
		t.Errorf("stun %q, turn %q, want %q", stun, turn, want)
	}

	// The same on loopback, with a certificate that needs nobody.
	here := strings.NewReplacer(
		`":443"`, `"127.0.0.1:0"`, `turns: ""}`, `turns: "", admin: "127.0.0.1:0"}`,
		"turn: {", "turn: {external_ip: 127.0.0.1, relay_ports: 20000-29999, port_rest: 0, ",
		"domain: rtc.example.com", "domain: 127.0.0.1\ntls: {mode: self-signed}\nself_test: 0",
	).Replace(profile)
	r := newRunning(t, io.Discard, here, lookup)
	r.serve()
	defer r.end()
	if m := r.minter(); len(m.stun) != 0 || !slices.Equal(m.turn, want) {
		t.Errorf("stun %q, turn %q, want %q", m.stun, m.turn, want)
	}
	for _, tr := range []relay.Transport{relay.TCP, relay.TLS, relay.DTLS} {
		if at := r.turn.Addrs(tr); len(at) != 0 {
			t.Errorf("%v listens on %v", tr, at)
		}
	}
	target, err := probe.ParseURL("turns:" + r.https.listeners[0].Addr().String() + "?transport=tcp")
	if err != nil {
		t.Fatal(err)
	}
	pair := r.keys.Issue("alice", time.Hour, time.Now())
	result := probe.Run(t.Context(), target, probe.Options{
		Username: pair.Username, Credential: pair.Password, Packets: 3, Interval: time.Millisecond, Roots: r.roots,
	})
	if !result.OK {
		t.Errorf("%+v", result.Problem)
	}
}
