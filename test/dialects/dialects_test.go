// Package dialects brings the published clients of other systems, unchanged, to the
// dialects of the hub, in Node. It needs node and npm.
package dialects

import (
	"os"
	"os/exec"
	"testing"
)

func TestPublishedClients(t *testing.T) {
	if _, err := os.Stat("node_modules"); err != nil {
		if out, err := exec.Command("npm", "ci", "--no-audit", "--no-fund").CombinedOutput(); err != nil {
			t.Fatalf("npm ci: %v\n%s", err, out)
		}
	}
	program := t.TempDir() + "/dialecttest"
	build := exec.Command("go", "build", "-o", program, "./signaling/dialect/dialecttest")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	clients := exec.Command("npm", "test")
	clients.Env = append(os.Environ(), "DIALECTTEST="+program)
	if out, err := clients.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}
