package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDiff(t *testing.T) {
	files := "tls: {cert_file: a.pem, key_file: a.key}\nlisten: {https: ':443'}\n"
	for _, c := range []struct{ before, after, want string }{
		{"", "domain: ''\nturn: {port_rest: 2m}", ""},
		{"", "turn: {limits: {channels: 32}}", "turn.limits.channels: 64 → 32"},
		{"", "turn: {peers: {deny: [10.0.0.0/8, 8.8.8.8]}}", "turn.peers.deny: recommended → 10.0.0.0/8,8.8.8.8/32"},
		{"", "turn: {secrets: [0123456789abcdef0123456789abcdef]}", `turn.secrets: "" → ********`},
		{
			"turn: {secrets: [0123456789abcdef0123456789abcdef]}", "turn: {secrets: [0123456789abcdef0123456789abcdee]}",
			"turn.secrets: ******** → ********",
		},
		{"", "listen: {turn: ':3479'}\nlog: {level: debug}", "!listen.turn: :3478 → :3479; log.level: info → debug"},
		{"", "signaling: {dialects: {p2p: false}, limits: {queue: 9}}", "!signaling.limits.queue: 256 → 9; !signaling.dialects.p2p: true → false"},
		{files, strings.ReplaceAll(files, "a.", "b."), "tls.cert_file: a.pem → b.pem; tls.key_file: a.key → b.key"},
		// What auto stands for is decided once.
		{files, "listen: {https: ':443'}", `tls.cert_file: a.pem → ""; tls.key_file: a.key → ""; !tls.mode: files → self-signed`},
	} {
		var got []string
		for _, change := range Diff(mustLoad(t, c.before, nil), mustLoad(t, c.after, nil)) {
			mark := ""
			if !change.Live {
				mark = "!"
			}
			got = append(got, mark+change.String())
		}
		if diff := cmp.Diff(c.want, strings.Join(got, "; ")); diff != "" {
			t.Errorf("%q to %q: %s", c.before, c.after, diff)
		}
	}
}

// The file of a secret counts by what it holds.
func TestDiffReadsSecretFiles(t *testing.T) {
	dir := t.TempDir()
	file, secret := filepath.Join(dir, "config.yaml"), filepath.Join(dir, "turn.secret")
	load := func(secretText string) *Loaded {
		t.Helper()
		for name, text := range map[string]string{file: "turn: {secret_file: turn.secret}", secret: secretText} {
			if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		l, err := Load(Input{File: file})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	before := load("0123456789abcdef0123456789abcdef")
	if diff := cmp.Diff([]string{secret}, before.SecretFiles()); diff != "" {
		t.Error(diff)
	}
	changes := Diff(before, load("0123456789abcdef0123456789abcdee"))
	if len(changes) != 1 || changes[0].Path != "turn.secrets" || !changes[0].Live || strings.Contains(changes[0].String(), "abc") {
		t.Errorf("%v", changes)
	}
}
