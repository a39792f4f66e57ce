package packages

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rtcd/test/lab"
)

// buildah keeps its images in a directory of the test.
func buildah(ctx context.Context, dir string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "buildah", append([]string{
		"--storage-driver", "vfs", "--root", filepath.Join(dir, "images"), "--runroot", filepath.Join(dir, "run"),
	}, args...)...)
}

// imageContext is what the Dockerfile's first stage leaves for the second, with the
// release's program. A machine without a registry has no compiler's image to make it with.
func imageContext(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"etc/ssl/certs", "state", "run/rtcd"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for from, to := range map[string]string{world.program: "rtcd", "/etc/ssl/certs/ca-certificates.crt": "etc/ssl/certs/ca-certificates.crt"} {
		data, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, to), data, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile("../../deploy/Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	_, second, found := bytes.Cut(text, []byte("\nFROM scratch\n"))
	if !found {
		t.Fatal("the Dockerfile has no stage that begins with nothing")
	}
	made := append([]byte("FROM scratch AS build\nCOPY . /\nFROM scratch\n"), second...)
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), made, 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// The image holds a program that runs as nobody in particular, relays, and knows whether it
// is well.
func TestImage(t *testing.T) {
	if !long {
		t.Skip("buildah copies much; make e2e does it")
	}
	network(t)
	dir := t.TempDir()
	must := func(args ...string) string {
		t.Helper()
		out, err := buildah(patient(t), dir, args...).CombinedOutput()
		if err != nil {
			t.Fatalf("buildah %s: %v\n%s", args[0], err, out)
		}
		return strings.TrimSpace(string(out))
	}
	must("build", "--isolation", "chroot", "--format", "docker", "--tag", "rtcd", imageContext(t))
	var image struct {
		Docker struct {
			Config struct {
				User        string
				Entrypoint  []string
				Cmd         []string
				Healthcheck struct{ Test []string }
			} `json:"config"`
		}
	}
	if err := json.Unmarshal([]byte(must("inspect", "rtcd")), &image); err != nil {
		t.Fatal(err)
	}
	c := image.Docker.Config
	if c.User != "65532:65532" || strings.Join(c.Healthcheck.Test, " ") != "CMD /rtcd check --health" {
		t.Errorf("user %q, health check %q", c.User, c.Healthcheck.Test)
	}
	command := append(c.Entrypoint, c.Cmd...)
	container := must("from", "--pull-never", "localhost/rtcd")

	// In the server's node, with the image's user, environment and command.
	in := func(args ...string) *exec.Cmd {
		cmd := buildah(context.Background(), dir, append([]string{"run", "--isolation", "chroot", container, "--"}, args...)...)
		return exec.Command("ip", append([]string{"netns", "exec", world.server.Namespace()}, cmd.Args...)...)
	}
	serve, err := lab.Start(in(command...))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := serve.Stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Log(serve.Output())
		}
	}()
	for ctx := patient(t); ; {
		out, err := in(c.Healthcheck.Test[1:]...).CombinedOutput()
		if err == nil {
			break
		}
		select {
		case <-serve.Ended():
			t.Fatalf("it ends: %s", serve.Output())
		case <-ctx.Done():
			t.Fatalf("it is not well: %v\n%s", err, out)
		case <-time.After(200 * time.Millisecond): // between two looks
		}
	}
	uid, err := exec.Command("sh", "-c", fmt.Sprintf("ip netns pids %s | xargs -n1 -I{} sed -n 's/^Uid:\\t//p' /proc/{}/status", world.server.Namespace())).Output()
	if err != nil || !strings.Contains(string(uid), "65532\t65532") {
		t.Errorf("it runs as %q (%v)", uid, err)
	}
	probe := world.alice.Command(patient(t), world.program, "probe", "stun:"+world.server.IP4.String()+":3478")
	if out, err := probe.CombinedOutput(); err != nil {
		t.Errorf("from outside: %v\n%s", err, out)
	}
}
