package loads

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"rtcd/test/soak"

	"github.com/pion/stun/v3"
)

func TestF9DiskFullForLogs(t *testing.T) {
	if !long() {
		return
	}
	row := newRow(t, "F9", "the disk of the log is full while allocations come and go")
	dir := t.TempDir()
	must(t, syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"))
	t.Cleanup(func() { must(t, syscall.Unmount(dir, syscall.MNT_DETACH)) })
	log, filler := filepath.Join(dir, "log"), filepath.Join(dir, "filler")
	s := serveBy(t, []string{"sh", "-c", `log=$1; shift; exec "$@" 2>"$log"`, "sh", log}, "log.level=info")
	release(t, s.allocate(t, 5))
	eventually(t, "the log has a line", func() bool { return strings.Contains(read(log), "allocation closed") })

	fill(t, filler)
	full := len(read(log))
	report := load(t, s, soak.Options{Calls: 50, Outside: 100, Rate: 2000, For: 10 * time.Second})
	row.wantAccount(report)
	if grown := len(read(log)) - full; grown > 4096 {
		t.Errorf("the log grew by %d bytes on a full disk", grown)
	}
	if dropped := s.metric(t, "rtcd_log_dropped_total"); dropped > 0 {
		row.figure("%.0f lines did not get into the log", dropped)
	} else {
		t.Error("no lost line is counted")
	}
	must(t, os.Remove(filler))
	was := len(read(log))
	release(t, s.allocate(t, 1))
	eventually(t, "the log goes on", func() bool { return strings.Contains(read(log)[was:], "allocation closed") })
	row.figure("the log went on when there was space")
}

func read(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return string(b)
}

// fill writes a file until the disk is full.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	must(t, err)
	defer func() { _ = f.Close() }()
	for size := 4096; size > 0; {
		if _, err := f.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
}

// memoryGroup makes a control group of so much memory until the end of the test, of either version of cgroups. Without
// one of them it is nil.
func memoryGroup(t *testing.T, bytes int) (add func(pid int), oomKills func() string) {
	t.Helper()
	for root, files := range map[string][2]string{
		"/sys/fs/cgroup/memory": {"memory.limit_in_bytes", "memory.oom_control"},
		"/sys/fs/cgroup":        {"memory.max", "memory.events"},
	} {
		dir := filepath.Join(root, fmt.Sprintf("rtcdlab%d", os.Getpid()))
		if os.Mkdir(dir, 0o755) != nil {
			continue
		}
		t.Cleanup(func() { _ = os.Remove(dir) }) // the process in it has ended
		if os.WriteFile(filepath.Join(dir, files[0]), []byte(strconv.Itoa(bytes)), 0o644) != nil {
			continue
		}
		return func(pid int) {
				must(t, os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0o644))
			}, func() string {
				for line := range strings.Lines(read(filepath.Join(dir, files[1]))) {
					if n, ok := strings.CutPrefix(line, "oom_kill "); ok {
						return strings.TrimSpace(n)
					}
				}
				return "?"
			}
	}
	return nil, nil
}

func TestF13MemoryLimit(t *testing.T) {
	if !long() {
		return
	}
	const limit = 128 << 20
	row := newRow(t, "F13", "128 MiB of memory (cgroup) and GOMEMLIMIT=100MiB: L4's storm, then a flood of 5,000 datagrams/s with 1,000 idle connections")
	t.Setenv("GOMEMLIMIT", "100MiB")
	s := serve(t, "turn.port_rest=1s")
	add, oomKills := memoryGroup(t, limit)
	if add == nil {
		row.figure("no cgroup for memory here, so GOMEMLIMIT alone")
	} else {
		add(s.pid)
	}
	made, refusals := storm(t, s, 500, time.Minute)
	peak := s.resident(t)
	a := attack(t, s, 5000, 1000, 50)
	time.Sleep(20 * time.Second)
	peak = max(peak, s.resident(t))
	a.end()
	row.figure("%d allocations, %d refused with 486 or 508; resident memory %s", len(made), refusals, mebibytes(peak))
	if oomKills != nil {
		row.figure("processes killed for memory: %s", oomKills())
		if oomKills() != "0" {
			t.Errorf("%s processes were killed", oomKills())
		}
	}
	release(t, made)
	if n := s.allocations(t); n != 0 {
		t.Errorf("%d allocations are left", n)
	}
}

// F17: packets larger than the path takes are cut up by the kernel and come whole.
func TestF17Fragments(t *testing.T) {
	if !long() {
		return
	}
	row := newRow(t, "F17", "payloads of 1,500 and 1,900 B over a path with an MTU of 1,280 B between server and router")
	router, server := world.net.Namespaces()[0], world.server.Namespace()
	mtu := func(bytes string) {
		for _, at := range [][2]string{{router, "to-srv"}, {server, "eth0"}} {
			out, err := exec.Command("ip", "-n", at[0], "link", "set", "dev", at[1], "mtu", bytes).CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
		}
	}
	mtu("1280")
	defer mtu("1500")
	s := serve(t)
	for _, size := range []int{1500, 1900} {
		row.wantAccount(load(t, s, soak.Options{Calls: 10, Outside: 20, Rate: 1000, Size: size, For: 10 * time.Second}))
	}
	if n := s.metric(t, `rtcd_turn_udp_send_errors_total\{reason="too_big"\}`); n > 0 {
		row.figure("%.0f were too big to be sent, and counted", n)
	}
	s.wantDontFragment(t, row)
}

// wantDontFragment sends datagrams that the path takes in pieces alone, with DONT-FRAGMENT and without it: the first are
// dropped and counted, the others arrive.
func (s *server) wantDontFragment(t *testing.T, row *row) {
	t.Helper()
	const pattern = `rtcd_turn_udp_send_errors_total\{reason="too_big"\}`
	peer, err := world.peers.ListenPacket(t.Context(), netip.AddrPortFrom(world.peers.IP4, 0).String())
	must(t, err)
	defer peer.Close()
	to := netip.MustParseAddrPort(peer.LocalAddr().String())
	c := s.mustDial(t, "udp", "whole")
	must(t, c.Allocate())
	must(t, c.Bind(channel, to)) // and the permission with it
	before := s.metric(t, pattern)
	const first, broken, last = 1390, 1395, 1400 // bytes; the client's own kernel loses the first, and learns of the path
	must(t, c.Send(to, make([]byte, first)))
	must(t, c.Ping())
	for range 3 {
		must(t, c.Send(to, make([]byte, broken), stun.RawAttribute{Type: stun.AttrDontFragment}))
		must(t, c.Ping()) // what was sent before has been relayed
	}
	must(t, c.Send(to, make([]byte, last)))
	must(t, peer.SetReadDeadline(time.Now().Add(time.Minute)))
	for n := 0; n != last; {
		n, _, err = peer.ReadFrom(make([]byte, 2000))
		must(t, err)
		if n == broken {
			t.Error("a datagram with DONT-FRAGMENT came over a path that is too narrow for it")
		}
	}
	if dropped := s.metric(t, pattern) - before; dropped != 3 {
		t.Errorf("%v datagrams with DONT-FRAGMENT were too big, want 3", dropped)
	}
	row.figure("3 of 3 with DONT-FRAGMENT dropped, the one without came")
}
