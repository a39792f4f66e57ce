package loads

import (
	"os/exec"
	"strings"
	"testing"
	"time"
)

// F10: the wall clock of a process cannot be set apart from that of its machine, so these are tests of the packages.
func TestF10ClockJumps(t *testing.T) {
	if !long() {
		return
	}
	row := newRow(t, "F10", "the wall clock jumps by an hour and by a day, both ways (tests of the packages, with an injected clock)")
	for _, suite := range [][2]string{{"./turnsrv/relay", "TestTheWallClockJumps"}, {"./creds", "TestTheClockIsSetBack"}} {
		cmd := exec.CommandContext(patient(t), "go", "test", "-count=1", "-v", "-run", "^"+suite[1]+"$", suite[0])
		cmd.Dir = "../.."
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "--- PASS: "+suite[1]) {
			t.Errorf("%s: %v\n%s", suite[1], err, out)
		}
		row.figure("%s: %s", strings.TrimPrefix(suite[0], "./"), suite[1])
	}
}

func TestF18NameNotFoundAtTheStart(t *testing.T) {
	if !long() {
		return
	}
	const name = "late.test"
	row := newRow(t, "F18", "the name in turn.external_ip cannot be looked up at the start, and can later")
	s := install(t, nil, "turn.external_ip=dns:"+name)
	s.launch(t)
	_, err := s.process.Await(patient(t), "starting degraded")
	must(t, err)
	c := s.mustDial(t, "udp", "early")
	eventually(t, "Binding is answered", func() bool { return c.Ping() == nil })
	if err := c.Allocate(); !refused(err, 440) && !refused(err, 508) {
		t.Errorf("Allocate: %v, want 440 or 508", err)
	}
	time.Sleep(3 * time.Second) // so that it tries again, and fails again
	begin := time.Now()
	must(t, world.net.Name(name, world.server.IP4))
	eventually(t, "allocations are made", func() bool { return s.mustDial(t, "udp", "later").Allocate() == nil })
	row.figure("it says so, answers Binding and refuses Allocate; allocations %s after the name was known", seconds(time.Since(begin)))
}
