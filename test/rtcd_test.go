package test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"rtcd/test/lab"
)

// rtcdServer is a running rtcd.
type rtcdServer struct {
	node   *lab.Node
	config string // path of the configuration file
	admin  *lab.Admin
}

// settings is a part of the configuration: a section's keys, or a section under its name.
type settings = map[string]any

// startRTCD runs the built program with a configuration file until the end of the test, on the server's node. Each
// change replaces or adds keys in one section ("" = the top level).
func startRTCD(t *testing.T, changes ...change) *rtcdServer {
	t.Helper()
	return startRTCDOn(t, world.server, changes...)
}

type change struct {
	section string
	keys    settings
}

// unlimited lifts the limits that count per address, for tests that run many clients on one.
var unlimited = change{"turn", settings{"limits": settings{
	"allocations_per_user": 0, "allocations_per_ip": 0, "unauthenticated_per_ip": 0, "failed_logins_per_ip": 0, "connections_per_ip": 0,
}}}

func startRTCDOn(t *testing.T, node *lab.Node, changes ...change) *rtcdServer {
	t.Helper()
	s := &rtcdServer{node: node, admin: node.Admin()}
	t.Cleanup(s.admin.Close)
	s.config = writeConfig(t, node, changes)
	p := start(t, node.Command(context.WithoutCancel(t.Context()), world.program, "serve", "--config", s.config))
	s.awaitReady(t, p)
	return s
}

// writeConfig writes a configuration file, as JSON, which is YAML too, with the secrets beside it.
func writeConfig(t *testing.T, node *lab.Node, changes []change) string {
	t.Helper()
	dir := t.TempDir()
	secret := func(name string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, fmt.Appendf(nil, "%s of %s, long enough", name, t.TempDir()), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	config := map[string]settings{
		"listen": {"https": ":443", "http": "", "turn": ":3478", "turns": ":5349", "admin": lab.AdminAddress},
		"tls":    {"mode": "files", "cert_file": world.certFile, "key_file": world.keyFile},
		"turn": {
			"realm": realm, "secret_file": secret("turn secret"),
			"external_ip": []string{node.IP4.String(), node.IP6.String()},
		},
		"signaling": {"token_secret_file": secret("token secret")},
		"log":       {"level": "debug", "format": "text"},
		"":          {"domain": hostBoth, "self_test": 0},
	}
	for _, c := range changes {
		maps.Copy(config[c.section], c.keys)
	}
	top := config[""]
	delete(config, "")
	for section, keys := range config {
		top[section] = keys
	}
	text, err := json.MarshalIndent(top, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func (s *rtcdServer) awaitReady(t *testing.T, p *lab.Process) {
	t.Helper()
	ctx := patient(t)
	for !s.admin.Ready(ctx) {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-p.Ended():
			t.Fatalf("rtcd ended:\n%s", p.Output())
		case <-ctx.Done():
			t.Fatal("rtcd is not ready")
		}
	}
}

// run runs the program's other commands with the same configuration and returns what they print.
func (s *rtcdServer) run(t *testing.T, args ...string) string {
	t.Helper()
	out, err := s.node.Command(patient(t), world.program, append(args, "--config", s.config)...).Output()
	if err != nil {
		t.Fatalf("rtcd %s: %v", strings.Join(args, " "), err)
	}
	return strings.TrimSpace(string(out))
}

// target is the server with credentials that `rtcd credentials` mints.
func (s *rtcdServer) target(t *testing.T) target {
	t.Helper()
	var minted struct {
		ICEServers []struct {
			URLs                 []string
			Username, Credential string
		} `json:"iceServers"`
	}
	if err := json.Unmarshal([]byte(s.run(t, "credentials", "--user", "alice", "--format", "json")), &minted); err != nil {
		t.Fatal(err)
	}
	for _, server := range minted.ICEServers {
		if server.Username != "" {
			return target{node: s.node, user: server.Username, password: server.Credential}
		}
	}
	t.Fatalf("rtcd credentials prints no credentials: %+v", minted)
	return target{}
}

// secret is that of the relay's credentials.
func (s *rtcdServer) secret(t *testing.T) string {
	t.Helper()
	secret, err := os.ReadFile(filepath.Join(filepath.Dir(s.config), "turn secret"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(secret))
}

// token is a join token for a room.
func (s *rtcdServer) token(t *testing.T, room, name string) string {
	t.Helper()
	return s.run(t, "token", "--room", room, "--name", name)
}

var bytesMetric = regexp.MustCompile(`(?m)^rtcd_turn_relayed_bytes_total\{direction="(sent|received)",transport="(\w+)"\} (\S+)$`)

// traffic is bytes of application data that one side, server or browsers, has sent and received.
type traffic struct{ sent, received float64 }

// counters is the server's traffic with its clients, by their transport.
type counters map[transport]traffic

// since is what has been added to the counters.
func (c counters) since(before counters) counters {
	moved := counters{}
	for tr, n := range c {
		moved[tr] = traffic{n.sent - before[tr].sent, n.received - before[tr].received}
	}
	return moved
}

// relayed reads the server's own counters from /metrics.
func (s *rtcdServer) relayed(t *testing.T) counters {
	t.Helper()
	text, err := s.admin.Metrics(patient(t))
	if err != nil {
		t.Fatal(err)
	}
	counted := counters{}
	for _, line := range bytesMetric.FindAllStringSubmatch(text, -1) {
		n, err := strconv.ParseFloat(line[3], 64)
		if err != nil {
			t.Fatal(err)
		}
		sum := counted[transport(line[2])]
		if line[1] == "sent" {
			sum.sent += n
		} else {
			sum.received += n
		}
		counted[transport(line[2])] = sum
	}
	if len(counted) == 0 {
		t.Fatalf("no rtcd_turn_relayed_bytes_total in /metrics:\n%s", text)
	}
	return counted
}
