package natlab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"rtcd/test/lab"
)

// Host names of the one server, each with an address of its own, for both have a port 443.
const (
	hubHost  = "hub.test"
	turnHost = "turn.test"
)

// world is what all tests share.
var world struct {
	net               *lab.Net
	server            *lab.Node
	hosts             map[string]netip.Addr
	ca                *lab.CA
	certFile, keyFile string
	program           string // the built rtcd

	mu    sync.Mutex // guards net and homes
	homes byte       // how many were made; each has an address of its own
}

func TestMain(m *testing.M) {
	lab.Main(func(dir string) (int, error) { return runAll(m, dir) })
}

func runAll(m *testing.M, dir string) (code int, err error) {
	if world.program, err = lab.Build("../..", dir); err != nil {
		return 1, err
	}
	if world.net, err = lab.New(); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, world.net.Close()) }()
	if err := populate(dir); err != nil {
		return 1, err
	}
	code = m.Run()
	return code, writeReport()
}

func populate(dir string) error {
	var err error
	if world.server, err = world.net.Add("srv", 16); err != nil {
		return err
	}
	second, err := world.net.AddAddress(world.server, 17)
	if err != nil {
		return err
	}
	world.hosts = map[string]netip.Addr{hubHost: world.server.IP4, turnHost: second}
	for name, addr := range world.hosts {
		if err := world.net.Name(name, addr); err != nil {
			return err
		}
	}
	if world.ca, err = lab.NewCA(dir); err != nil {
		return err
	}
	// pion's ICE takes the system's authorities, which Go reads once, at first use.
	if err := os.Setenv("SSL_CERT_FILE", world.ca.File); err != nil {
		return err
	}
	world.certFile, world.keyFile, err = world.ca.Issue([]string{turnHost, hubHost})
	return err
}

// long says whether the long form of the tests is wanted.
func long() bool { return os.Getenv("RTCD_TEST_LONG") == "1" }

// patient is the context of a test: nothing here is measured by the clock, so the deadline is generous.
func patient(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// eventually waits until the condition holds. It returns at once; what it polls is cheap.
func eventually(ctx context.Context, what string, holds func() bool) error {
	for !holds() {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("%s: did not come about: %w", what, ctx.Err())
		}
	}
	return nil
}

// home makes a client's home until the end of the test.
func home(t *testing.T, kinds ...lab.NATKind) *lab.NAT {
	t.Helper()
	world.mu.Lock()
	defer world.mu.Unlock()
	world.homes++
	s, err := world.net.AddNAT(fmt.Sprintf("h%d", world.homes), 100+world.homes%100, kinds...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		world.mu.Lock()
		defer world.mu.Unlock()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// must ends the test on an error.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
