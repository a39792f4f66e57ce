package apps

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"rtcd/test/browser"
	"rtcd/test/lab"
)

// host is the server's name in the lab.
const host = "rtc.test"

// long asks for the long form of the tests.
var long = os.Getenv("RTCD_TEST_LONG") == "1"

// world is what all tests share.
var world struct {
	net               *lab.Net
	server            *lab.Node
	alice, bob, carol *lab.Node // people's machines
	ca                *lab.CA
	config, program   string
	rtcd              *lab.Process

	mu       sync.Mutex // guards browsers
	browsers map[place]*browser.Browser
}

// place is where a browser runs.
type place struct {
	kind browser.Kind
	node *lab.Node
}

func TestMain(m *testing.M) {
	lab.Main(func(dir string) (int, error) { return runAll(m, dir) })
}

func runAll(m *testing.M, dir string) (code int, err error) {
	if err := browser.Sparing(); err != nil {
		return 1, err
	}
	if world.net, err = lab.New(); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, world.net.Close()) }()
	if err := populate(dir); err != nil {
		return 1, err
	}
	if err := startServer(dir); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, stopServer()) }()
	world.browsers = map[place]*browser.Browser{}
	defer func() {
		for _, b := range world.browsers {
			err = errors.Join(err, b.Close())
		}
	}()
	return m.Run(), nil
}

func populate(dir string) (err error) {
	for _, node := range []struct {
		place **lab.Node
		name  string
		host  byte
	}{{&world.server, "srv", 0x10}, {&world.alice, "alice", 0x61}, {&world.bob, "bob", 0x62}, {&world.carol, "carol", 0x63}} {
		if *node.place, err = world.net.Add(node.name, node.host); err != nil {
			return err
		}
	}
	if err := world.net.Name(host, world.server.IP4, world.server.IP6); err != nil {
		return err
	}
	world.ca, err = lab.NewCA(dir)
	return err
}

// startServer builds rtcd, runs it in its node and waits until it is ready. Its limits by address are lifted,
// because here everybody comes from one, and so is the cap on a relay's bandwidth, because what it drops takes time.
func startServer(dir string) error {
	var err error
	if world.program, err = lab.Build("../..", dir); err != nil {
		return err
	}
	certFile, keyFile, err := world.ca.Issue([]string{host}, world.server.IP4, world.server.IP6)
	if err != nil {
		return err
	}
	type section = map[string]any
	text, err := json.MarshalIndent(section{
		"domain": host, "self_test": 0,
		"listen": section{"https": ":443", "http": "", "turn": ":3478", "turns": ":5349", "admin": lab.AdminAddress},
		"tls":    section{"mode": "files", "cert_file": certFile, "key_file": keyFile},
		"turn": section{
			"realm": host, "secrets": []string{"the secret of the relay, long enough"},
			// Not those of 443, or who reaches the hub would always reach the relay.
			"urls":        []string{"stun:" + host + ":3478", "turn:" + host + ":3478?transport=udp", "turn:" + host + ":3478?transport=tcp", "turns:" + host + ":5349?transport=tcp"},
			"external_ip": []string{world.server.IP4.String(), world.server.IP6.String()},
			"limits": section{
				"allocations_per_user": 0, "allocations_per_ip": 0, "unauthenticated_per_ip": 0, "connections_per_ip": 0,
				"bandwidth_per_allocation": 0,
			},
		},
		"signaling": section{"token_secrets": []string{"the secret of the tokens, long enough"}},
	}, "", "  ")
	if err != nil {
		return err
	}
	world.config = filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(world.config, text, 0o600); err != nil {
		return err
	}
	serve := world.server.Command(context.Background(), world.program, "serve", "--config", world.config)
	serve.Env = append(os.Environ(), "STATE_DIRECTORY="+dir)
	if world.rtcd, err = lab.Start(serve); err != nil {
		return err
	}
	return awaitServer()
}

func awaitServer() error {
	admin := world.server.Admin()
	defer admin.Close()
	var last error
	for range 600 {
		_, err := admin.Ask(context.Background(), "/readyz")
		if err == nil {
			return nil
		}
		last = err
		select {
		case <-time.After(100 * time.Millisecond):
		case <-world.rtcd.Ended():
			return fmt.Errorf("rtcd ended:\n%s", world.rtcd.Output())
		}
	}
	return fmt.Errorf("rtcd is not ready: %w\n%s", last, world.rtcd.Output())
}

func stopServer() error {
	err := world.rtcd.Stop()
	if out := world.rtcd.Output(); strings.Contains(out, "panic") || strings.Contains(out, "DATA RACE") {
		err = errors.Join(err, fmt.Errorf("rtcd panicked or raced:\n%s", out))
	}
	return err
}

// browserIn is the browser of that kind in the node, started when first asked for.
func browserIn(t *testing.T, kind browser.Kind, node *lab.Node) *browser.Browser {
	t.Helper()
	world.mu.Lock()
	defer world.mu.Unlock()
	at := place{kind, node}
	if b := world.browsers[at]; b != nil {
		return b
	}
	b, err := browser.Open(patient(t), kind, node, world.ca)
	if err != nil {
		t.Fatal(err)
	}
	world.browsers[at] = b
	return b
}

// inBrowsers runs a test in Chromium, and in the long form in Firefox too.
func inBrowsers(t *testing.T, test func(*testing.T, *browser.Browser)) {
	t.Helper()
	kinds := []browser.Kind{browser.Chromium}
	if long {
		kinds = append(kinds, browser.Firefox)
	}
	for _, kind := range kinds {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			test(t, browserIn(t, kind, world.alice))
		})
	}
}

// patient is the context of a test: nothing here is measured by the clock, so the deadline is generous.
func patient(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	return ctx
}
