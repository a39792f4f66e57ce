package loads

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"rtcd/test/soak"
)

// D1: SIGTERM in mid-call. The calls go on, nobody new comes in, and the process ends after the last of them.
func TestD1Drain(t *testing.T) {
	if !long() {
		return
	}
	const members = 200
	row := newRow(t, "D1", fmt.Sprintf("SIGTERM with 50 calls, 50 peers outside and %d members of rooms", members))
	s := serve(t)
	last := s.mustDial(t, "udp", "last")
	must(t, last.Allocate())
	late := s.mustDial(t, "udp", "late")
	hub := joinAll(t, s, members, members/5)
	o := soak.Options{Calls: 50, Outside: 50, Rate: 5000, For: 30 * time.Second}
	o.During = func() error {
		if err := syscall.Kill(s.pid, syscall.SIGTERM); err != nil {
			return err
		}
		s.wantDraining(t)
		if err := late.Ping(); err != nil {
			return fmt.Errorf("Binding while draining: %w", err)
		}
		err := late.Allocate()
		for ctx := patient(t); err == nil && ctx.Err() == nil; err = late.Allocate() { // the relay hears of it after the members
			if err := late.Refresh(0); err != nil {
				return fmt.Errorf("Refresh while draining: %w", err)
			}
		}
		if !refused(err, 508) && !refused(err, 300) {
			t.Errorf("Allocate while draining: %v, want 508 or 300", err)
		}
		return nil
	}
	r := load(t, s, o)
	row.wantAccount(r)
	for _, m := range hub.members {
		if m.goings.Load() == 0 {
			t.Fatal("a member was not told that the server goes")
		}
	}
	hub.end()
	select {
	case <-s.process.Ended():
		t.Fatal("the server has ended before the last allocation")
	default:
	}
	must(t, last.Refresh(10*time.Minute))
	begin := time.Now()
	must(t, last.Refresh(0))
	s.wantExit(t)
	row.figure("new Allocates refused, Binding answered, not ready, %d members told; exit 0 %s after the last allocation", members, seconds(time.Since(begin)))
}

// wantDraining waits until the server says that it is not ready.
func (s *server) wantDraining(t *testing.T) {
	t.Helper()
	eventually(t, "the server drains", func() bool {
		_, err := s.admin.Ask(t.Context(), "/readyz")
		return err != nil && strings.Contains(err.Error(), "503")
	})
}

// D2: a client that never leaves does not keep the process longer than drain.timeout.
func TestD2DrainTimeout(t *testing.T) {
	if !long() {
		return
	}
	const timeout = 10 * time.Second
	row := newRow(t, "D2", fmt.Sprintf("SIGTERM with a client that never leaves, drain.timeout %v", timeout))
	s := serve(t, "drain.timeout="+timeout.String())
	s.allocate(t, 1)
	begin := time.Now()
	s.end(t, syscall.SIGTERM)
	took := time.Since(begin)
	row.figure("exit 0 after %s", seconds(took))
	if took < timeout || took > 6*timeout {
		t.Errorf("exit after %v, want %v", took, timeout)
	}
}

// D3: a second SIGTERM ends at once, and everybody comes to the next process.
func TestD3SecondSignal(t *testing.T) {
	if !long() {
		return
	}
	const members = 2000
	row := newRow(t, "D3", fmt.Sprintf("SIGTERM with %d WebSockets and an allocation, SIGTERM again, start", members))
	s := serve(t)
	s.allocate(t, 1)
	hub := joinAll(t, s, members, members/5)
	s.signal(t, syscall.SIGTERM)
	s.wantDraining(t)
	begin := time.Now()
	s.end(t, syscall.SIGTERM)
	ended := time.Since(begin)
	s.start(t)
	ready := time.Now()
	hub.wantAllBack(t)
	row.figure("exit 0 %s after the second signal; all back %s after the start", millis(ended), seconds(time.Since(ready)))
	for _, m := range hub.members {
		if m.goings.Load() == 0 {
			t.Fatal("a member was not told that the server goes")
		}
	}
}
