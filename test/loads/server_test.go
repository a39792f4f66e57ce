package loads

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"rtcd/test/lab"
)

const (
	turnPort = 3478
	hubPort  = 8080
	secret   = "loads loads loads loads loads loads"
)

// The clients of a load have one address, so nothing is bounded by address.
const configText = `listen: {https: "", http: "%[1]v:%[2]d", turn: "%[1]v:%[3]d", turns: "", admin: "` + lab.AdminAddress + `"}
tls: {mode: off}
turn:
  realm: loads
  secrets: [%[4]q]
  external_ip: "%[1]v"
  limits: {allocations_per_user: 0, allocations_per_ip: 0, bandwidth_per_allocation: 0, unauthenticated_per_ip: 0, connections_per_ip: 0}
signaling: {auth: none}
self_test: 0
log: {level: warn, format: text}
`

// server is an rtcd that can be stopped and started again, with the same configuration and state.
type server struct {
	dir     string
	args    []string
	wrap    []string // what starts the program, like prlimit
	admin   *lab.Admin
	process *lab.Process
	pid     int
}

// serve runs rtcd until the end of the test; settings are KEY=VALUE, on top of configText.
func serve(t *testing.T, settings ...string) *server {
	t.Helper()
	return serveBy(t, nil, settings...)
}

// serveBy runs it by another program.
func serveBy(t *testing.T, wrap []string, settings ...string) *server {
	t.Helper()
	s := install(t, wrap, settings...)
	s.start(t)
	return s
}

// install is all but the start.
func install(t *testing.T, wrap []string, settings ...string) *server {
	t.Helper()
	s := &server{dir: t.TempDir(), wrap: wrap, admin: world.server.Admin()}
	s.configure(t, config())
	s.args = []string{"serve", "--config", s.configFile()}
	for _, kv := range settings {
		s.args = append(s.args, "--set", kv)
	}
	t.Cleanup(func() {
		s.admin.Close()
		if s.process == nil {
			return
		}
		must(t, s.process.Stop())
		s.mustNotPanic(t)
		if t.Failed() {
			t.Logf("rtcd wrote:\n%s", s.process.Output())
		}
	})
	return s
}

// config is the configuration's text.
func config() string {
	return fmt.Sprintf(configText, world.server.IP4, hubPort, turnPort, secret)
}

func (s *server) configFile() string { return filepath.Join(s.dir, "config.yaml") }

// configure replaces the configuration; a running server does not know yet.
func (s *server) configure(t *testing.T, text string) {
	t.Helper()
	must(t, os.WriteFile(s.configFile(), []byte(text), 0o600))
}

// start starts the program and waits until it is ready.
func (s *server) start(t *testing.T) {
	t.Helper()
	s.launch(t)
	eventually(t, "rtcd is ready", func() bool {
		select {
		case <-s.process.Ended():
			t.Fatalf("rtcd has ended:\n%s", s.process.Output())
		default:
		}
		return s.admin.Ready(t.Context())
	})
}

// command is one that talks to the running server.
func (s *server) command(t *testing.T, args ...string) *exec.Cmd {
	cmd := world.server.Command(patient(t), world.program, append(args, "--admin", lab.AdminAddress)...)
	cmd.Env = append(os.Environ(), "STATE_DIRECTORY="+s.dir)
	return cmd
}

func (s *server) launch(t *testing.T) {
	t.Helper()
	argv := slices.Concat(s.wrap, []string{world.program}, s.args)
	cmd := world.server.Command(context.WithoutCancel(t.Context()), argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "STATE_DIRECTORY="+s.dir)
	var err error
	s.process, err = lab.Start(cmd)
	must(t, err)
	s.pid = cmd.Process.Pid
}

// kill ends it without warning; end with a signal, and wants its exit status to be 0.
func (s *server) kill(t *testing.T) {
	t.Helper()
	must(t, s.process.Stop())
	s.mustNotPanic(t)
	s.admin.Close()
}

func (s *server) end(t *testing.T, how syscall.Signal) {
	t.Helper()
	s.signal(t, how)
	s.wantExit(t)
}

// wantExit waits for the end.
func (s *server) wantExit(t *testing.T) {
	t.Helper()
	if err := s.process.Wait(patient(t)); err != nil {
		t.Errorf("exit: %v, want 0", err)
	}
	s.admin.Close()
}

func (s *server) signal(t *testing.T, sig syscall.Signal) {
	t.Helper()
	must(t, syscall.Kill(s.pid, sig))
}

func (s *server) mustNotPanic(t *testing.T) {
	t.Helper()
	if out := s.process.Output(); strings.Contains(out, "panic") || strings.Contains(out, "DATA RACE") { // the latter with GOFLAGS=-race
		t.Errorf("rtcd panicked or raced:\n%s", out)
	}
}

// turn is where clients reach the relay.
func (s *server) turn() netip.AddrPort { return netip.AddrPortFrom(world.server.IP4, turnPort) }

// metric is the sum of the series whose name and labels match the pattern, 0 if there is none.
func (s *server) metric(t *testing.T, pattern string) float64 {
	t.Helper()
	sum, err := s.admin.Sum(patient(t), pattern)
	must(t, err)
	return sum
}

func (s *server) allocations(t *testing.T) int {
	return int(s.metric(t, `rtcd_turn_allocations\{.*\}`))
}

// descriptors is how many the process has open, as the kernel tells.
func (s *server) descriptors() int {
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.pid))
	if err != nil {
		return -1 // it has ended
	}
	return len(list)
}

// resident is the memory that the process has now, in bytes.
func (s *server) resident(t *testing.T) float64 {
	t.Helper()
	return s.metric(t, "process_resident_memory_bytes")
}

// answers is how many requests of a method were answered by a code, or by "ok".
func (s *server) answers(t *testing.T, method, code string) int {
	t.Helper()
	return int(s.metric(t, fmt.Sprintf(`rtcd_turn_requests_total\{code="%s",method="%s"\}`, code, method)))
}
