package packages

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rtcd/test/lab"
)

// long is set for the form of the tests that takes its time: make e2e.
var long = os.Getenv("RTCD_TEST_LONG") != ""

// version is that of the package under test.
const version = "v0.9.0"

// host is the server's name, as DNS would tell it to everybody. No authority has certificates
// for it.
const host = "rtc.test"

// world is what all tests share: the node of a machine, and somebody outside.
var world struct {
	net           *lab.Net
	server, alice *lab.Node
	release       string // directory of what was built
	program       string // the binary of the release
	deb           string // and its Debian package
}

func TestMain(m *testing.M) {
	lab.Main(func(dir string) (int, error) { return runAll(m, dir) })
}

func runAll(m *testing.M, dir string) (code int, err error) {
	if os.Getuid() != 0 {
		return 1, errors.New("a machine of its own needs root")
	}
	world.release = filepath.Join(dir, "release")
	if err := release("../..", world.release, "amd64"); err != nil {
		return 1, err
	}
	world.program = filepath.Join(world.release, "rtcd-"+version+"-linux-amd64")
	world.deb = filepath.Join(world.release, "rtcd-server_"+strings.TrimPrefix(version, "v")+"_amd64.deb")
	defer func() {
		if world.net != nil {
			err = errors.Join(err, world.net.Close())
		}
	}()
	return m.Run(), nil
}

// network makes the nodes, for the first test that needs them.
func network(t *testing.T) {
	t.Helper()
	if world.net != nil {
		return
	}
	var err error
	if world.net, err = lab.New(); err != nil {
		t.Fatal(err)
	}
	if world.server, err = world.net.Add("srv", 0x10); err != nil {
		t.Fatal(err)
	}
	if world.alice, err = world.net.Add("alice", 0x61); err != nil {
		t.Fatal(err)
	}
	if err = world.net.Name(host, world.server.IP4, world.server.IP6); err != nil {
		t.Fatal(err)
	}
}

// release makes a release of the sources in a directory, for people on this machine's kind
// of processor or others.
func release(sources, out, arches string) error {
	cmd := exec.Command("deploy/release.sh")
	cmd.Dir = sources
	cmd.Env = append(os.Environ(), "VERSION="+version, "ARCHES="+arches, "OUT="+out, "SOURCE_DATE_EPOCH=1750000000")
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("deploy/release.sh: %w\n%s", err, text)
	}
	return nil
}

// patient is the context of a test: nothing here is measured by the clock, so the deadline is generous.
func patient(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	return ctx
}
