package targets

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// wantCoturn lets a real coturn run with the snippet, and be used with credentials that
// rtcd mints.
func wantCoturn(t *testing.T, text string) {
	dir := t.TempDir()
	conf := filepath.Join(dir, "turnserver.conf")
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	env := rtcd(t, server, "credentials", "--format", "env", "--user", "alice")
	got := shell(t, env+`
export STATE_DIRECTORY=`+dir+`/state
ip link set lo up
turnserver -c `+conf+` --listening-ip 127.0.0.1 --relay-ip 127.0.0.1 --no-cli --allow-loopback-peers \
  --no-tls --no-dtls --log-file stdout --pidfile `+dir+`/pid >`+dir+`/log 2>&1 &
trap 'kill $!' EXIT
for n in $(seq 100); do
  `+program+` probe --timeout 2s stun:127.0.0.1:3478 >/dev/null && break
  sleep 0.1
done
`+program+` check --set listen.turn=127.0.0.1:3478 --set turn.external_ip=127.0.0.1 || echo check failed
`+program+` probe --timeout 10s --username "$TURN_USERNAME" --credential "$TURN_CREDENTIAL" turn:127.0.0.1:3478 || { cat `+dir+`/log; exit 1; }
`)
	wantLines(t, got, "allocate", "echo")
	// And who comes to a machine with a coturn hears of it.
	wantLines(t, got, "3478/udp is held by turnserver, process", "→ systemctl disable --now coturn", "check failed")
}

// Debian's own file, with what people change in it, becomes a configuration of ours.
func TestDebiansTurnserverConfBecomesOurs(t *testing.T) {
	debian, err := os.ReadFile("/etc/turnserver.conf")
	if err != nil {
		t.Fatal(err)
	}
	conf := string(debian)
	for _, line := range []string{
		"listening-port=3478", "tls-listening-port=5349", "min-port=49152", "max-port=65535", "fingerprint",
		"use-auth-secret", "static-auth-secret=north", "cert=/usr/local/etc/turn_server_cert.pem",
		"pkey=/usr/local/etc/turn_server_pkey.pem", "no-cli",
	} {
		if !strings.Contains(conf, "\n#"+line+"\n") {
			t.Fatalf("Debian's file has no line #%s any more", line)
		}
		conf = strings.Replace(conf, "\n#"+line+"\n", "\n"+line+"\n", 1)
	}
	yaml, told := convert(t, conf)
	if strings.Contains(told, "not known") || strings.Contains(told, "not supported") {
		t.Errorf("Debian's own file has what we do not know:\n%s", told)
	}
	got := rtcd(t, yaml, "config", "show")
	for key, value := range map[string]string{
		"listen.turn": ":3478", "listen.turns": ":5349", "turn.relay_ports": "49152-65535", "turn.allow_short_secret": "true",
		"tls.cert_file": "/usr/local/etc/turn_server_cert.pem", "tls.key_file": "/usr/local/etc/turn_server_pkey.pem",
	} {
		if !regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(key) + ` +` + regexp.QuoteMeta(value) + ` `).MatchString(got) {
			t.Errorf("%s is not %s in\n%s", key, value, got)
		}
	}
	// The secret is the same: each takes what the other's side signs.
	if out := rtcd(t, yaml, "integrate", "coturn"); !strings.Contains(out, "static-auth-secret=north\n") {
		t.Errorf("the way back: %s", out)
	}
}

// Every option that this coturn has is one that we know.
func TestEveryOptionOfCoturnIsKnown(t *testing.T) {
	help, _ := exec.CommandContext(t.Context(), "turnserver", "--help").CombinedOutput()
	example, err := os.ReadFile("/etc/turnserver.conf")
	if err != nil {
		t.Fatal(err)
	}
	options := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^ *(?:-\w, *)?--([A-Za-z0-9_-]+)`).FindAllSubmatch(help, -1) {
		options[string(m[1])] = true
	}
	for _, m := range regexp.MustCompile(`(?m)^#([a-z][A-Za-z0-9-]+)(?:=\S*)?$`).FindAllSubmatch(example, -1) {
		options[string(m[1])] = true
	}
	delete(options, "version")
	delete(options, "help")
	if len(options) < 90 {
		t.Fatalf("only %d options were found", len(options))
	}
	var conf strings.Builder
	for name := range options {
		value := "0"
		switch {
		case strings.HasSuffix(name, "-port"):
			value = "4000"
		case name == "aux-server":
			value = "192.0.2.1:4001"
		case strings.HasSuffix(name, "-ip"):
			value = "192.0.2.1"
		}
		conf.WriteString(name + "=" + value + "\n")
	}
	// Together they make no sense, so that the result may be refused.
	cmd := exec.CommandContext(t.Context(), program, "integrate", "coturn", "-")
	cmd.Stdin = strings.NewReader(conf.String())
	out, _ := cmd.CombinedOutput()
	if told := string(out); !strings.Contains(told, "# Not needed") || strings.Contains(told, "not known") {
		t.Errorf("coturn has what we do not know:\n%s", told)
	}
}

// convert runs rtcd integrate coturn and returns what it writes and what it tells.
func convert(t *testing.T, conf string) (yaml, told string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, "integrate", "coturn", "-")
	cmd.Stdin = strings.NewReader(conf)
	var out, errors strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errors
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %s", err, &errors)
	}
	return out.String(), errors.String()
}
