// Package dialects brings the published clients of other systems, unchanged, to the
// dialects of the hub, in Node. It needs node and npm.
package dialects

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"rtcd/test/lab"
)

// TestPublishedClients runs them in a lab of one node, whose address they can be told.
func TestPublishedClients(t *testing.T) {
	install(t)
	net, err := lab.New()
	if err != nil {
		t.Fatal(err)
	}
	atEnd(t, net.Close)
	node, err := net.Add("all", 0x30)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := node.Command(t.Context(), "ip", "address", "add", "192.0.2.7/32", "dev", "lo").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	clients := node.Command(t.Context(), "npm", "test")
	clients.Env = append(os.Environ(), "DIALECTTEST="+server(t))
	if out, err := clients.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// serverScript is what the clients' tests start: rtcd as it is, or, with the switches of
// dialecttest, that. It prints its address, and ends with its standard input.
const serverScript = `#!/bin/sh
[ $# -gt 0 ] && exec %[1]s/dialecttest "$@"
dir=$(mktemp -d %[1]s/XXXXXX)
STATE_DIRECTORY=$dir %[1]s/rtcd serve --config %[1]s/config.yaml >$dir/out 2>$dir/log &
until grep -q http $dir/out; do
  kill -0 $! || { cat $dir/log >&2; exit 1; }
  sleep 0.05
done
sed -n 's/^rtcd serves //p' $dir/out
cat >/dev/null
kill $!
wait $!
`

const serverConfig = `
domain: 127.0.0.1
listen: {http: "127.0.0.1:0", turn: "127.0.0.1:0", admin: ""}
turn: {external_ip: 192.0.2.7}
signaling: {auth: none, origins: ["*"], limits: {messages: 0}}
log: {level: warn}
`

// server is the path of a program that runs rtcd.
func server(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for pkg, name := range map[string]string{"./cmd/rtcd": "rtcd", "./signaling/dialect/dialecttest": "dialecttest"} {
		if err := os.Rename(build(t, pkg), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	script := filepath.Join(dir, "server")
	if err := os.WriteFile(script, fmt.Appendf(nil, serverScript, dir), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.yaml"), []byte(serverConfig), 0o600); err != nil {
		t.Fatal(err)
	}
	return script
}

// install brings the clients.
func install(t *testing.T) {
	t.Helper()
	if _, err := os.Stat("node_modules"); err == nil {
		return
	}
	if out, err := exec.Command("npm", "ci", "--no-audit", "--no-fund").CombinedOutput(); err != nil {
		t.Fatalf("npm ci: %v\n%s", err, out)
	}
}

// build makes a program of ours.
func build(t *testing.T, pkg string) (program string) {
	t.Helper()
	program = filepath.Join(t.TempDir(), "program")
	cmd := exec.Command("go", "build", "-o", program, pkg)
	cmd.Dir = "../.."
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build %s: %v\n%s", pkg, err, out)
	}
	return program
}
