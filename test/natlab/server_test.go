package natlab

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"rtcd/test/lab"
)

// server is a running rtcd.
type server struct {
	config  string // path of the configuration file
	admin   *lab.Admin
	process *lab.Process
}

type settings = map[string]any

// serve runs rtcd until the end of the test, with the default limits but for those given.
func serve(t *testing.T, limits settings) *server {
	t.Helper()
	s := &server{admin: world.server.Admin()}
	t.Cleanup(s.admin.Close)
	s.config = configure(t, limits)
	var err error
	s.process, err = lab.Start(world.server.Command(context.WithoutCancel(t.Context()), world.program, "serve", "--config", s.config))
	must(t, err)
	t.Cleanup(func() {
		must(t, s.process.Stop())
		out := s.process.Output()
		if strings.Contains(out, "panic") || strings.Contains(out, "DATA RACE") { // the latter with GOFLAGS=-race
			t.Error("rtcd panicked or raced")
		}
		if t.Failed() {
			t.Logf("rtcd wrote:\n%s", out)
		}
	})
	must(t, eventually(patient(t), "rtcd is ready", func() bool { return s.admin.Ready(t.Context()) }))
	return s
}

// configure writes a configuration, as JSON, which is YAML too, with the secrets beside it.
func configure(t *testing.T, limits settings) string {
	t.Helper()
	dir := t.TempDir()
	secret := func(name string) string {
		path := filepath.Join(dir, name)
		must(t, os.WriteFile(path, fmt.Appendf(nil, "%s of %s, which is long enough", name, dir), 0o600))
		return path
	}
	all := settings{}
	maps.Copy(all, limits)
	text, err := json.MarshalIndent(settings{
		"domain": turnHost, "self_test": 0,
		"listen": settings{
			"https": world.hosts[hubHost].String() + ":443", "http": "",
			"turn": ":3478", "turns": world.hosts[turnHost].String() + ":443", "admin": lab.AdminAddress,
		},
		"tls":       settings{"mode": "files", "cert_file": world.certFile, "key_file": world.keyFile},
		"turn":      settings{"secret_file": secret("turn"), "external_ip": world.hosts[turnHost].String(), "limits": all},
		"signaling": settings{"token_secret_file": secret("token")},
		"log":       settings{"level": "info", "format": "text"},
	}, "", "  ")
	must(t, err)
	path := filepath.Join(dir, "config.yaml")
	must(t, os.WriteFile(path, text, 0o600))
	return path
}

// run runs another command of the program with the same configuration and returns what it prints.
func (s *server) run(t *testing.T, args ...string) string {
	t.Helper()
	out, err := world.server.Command(patient(t), world.program, append(args, "--config", s.config)...).Output()
	if err != nil {
		t.Fatalf("rtcd %s: %v", strings.Join(args, " "), err)
	}
	return strings.TrimSpace(string(out))
}

// token is a join token for a room.
func (s *server) token(t *testing.T, room, name string) string {
	t.Helper()
	return s.run(t, "token", "--room", room, "--name", name)
}

// metric is the sum of the series whose name and labels match the pattern, 0 if there is none.
func (s *server) metric(t *testing.T, pattern string) float64 {
	t.Helper()
	sum, err := s.admin.Sum(patient(t), pattern)
	must(t, err)
	return sum
}

// descriptors is how many the process has open.
func (s *server) descriptors(t *testing.T) int {
	t.Helper()
	return int(s.metric(t, "process_open_fds"))
}
