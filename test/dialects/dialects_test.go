// Package dialects brings the published clients of other systems, unchanged, to the
// dialects of the hub, in Node. It needs node and npm.
package dialects

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

func TestPublishedClients(t *testing.T) {
	install(t)
	program := build(t, "./signaling/dialect/dialecttest")
	clients := exec.Command("npm", "test")
	clients.Env = append(os.Environ(), "DIALECTTEST="+program)
	if out, err := clients.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
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
