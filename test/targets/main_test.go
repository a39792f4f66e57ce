package targets

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"rtcd/test/lab"
)

// program is the built rtcd.
var program string

// secret is one that quoting has to be careful with.
const secret = `it's <32> bytes & "quoted" $HOME \\ 100%`

// server is a configuration with ports of both families and of each one alone.
const server = `
domain: rtc.example.com
listen: {https: ":443", http: "", turn: "0.0.0.0:3478", turns: "[2001:db8::7]:5349"}
tls: {cert_file: a.pem, key_file: b.pem}
turn:
  external_ip: 192.0.2.7
  relay_ports: 49152-65535
  secrets: ['it''s <32> bytes & "quoted" $HOME \\ 100%']
`

func TestMain(m *testing.M) {
	lab.Main(func(dir string) (int, error) { return runAll(m, dir) })
}

func runAll(m *testing.M, dir string) (code int, err error) {
	for _, tool := range []string{"unshare", "nft", "ufw", "firewall-offline-cmd", "iptables", "lua5.4", "turnserver", "node", "python3"} {
		_, err1 := exec.LookPath(tool)
		if _, err2 := os.Stat("/usr/sbin/" + tool); err1 != nil && err2 != nil {
			return 1, fmt.Errorf("%s is missing; test/setup.sh installs it", tool)
		}
	}
	if program, err = lab.Build("../..", dir); err != nil {
		return 1, err
	}
	return m.Run(), nil
}

// rtcd runs a command with a configuration and returns what it prints.
func rtcd(t *testing.T, config string, args ...string) string {
	t.Helper()
	dir := t.TempDir()
	name := filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(name, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, append(args, "--config", name)...)
	cmd.Env = append(os.Environ(), "STATE_DIRECTORY="+dir)
	var out, errors strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errors
	if err := cmd.Run(); err != nil {
		t.Fatalf("rtcd %s: %v: %s", strings.Join(args, " "), err, &errors)
	}
	return out.String()
}

// rtcdFails runs a command that has to fail and returns what it says.
func rtcdFails(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), program, args...).CombinedOutput()
	if err == nil {
		t.Fatalf("rtcd %s: does not fail", strings.Join(args, " "))
	}
	return string(out)
}
