package address

import (
	"context"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// In a network namespace of its own, each change of an address or a route is told, and
// the end of the context is the end of it.
func TestKernelTellsOfChanges(t *testing.T) {
	ctx, end := context.WithCancel(t.Context())
	defer end()
	type answer struct {
		told <-chan struct{}
		err  error
	}
	got, steps := make(chan answer), make(chan []string)
	// The test owns it; closing steps ends it, and its thread with it.
	go func() {
		runtime.LockOSThread() // for good
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			got <- answer{err: err}
			return
		}
		got <- answer{told: changes(ctx)}
		for args := range steps {
			out, err := exec.Command("ip", args...).CombinedOutput()
			if err != nil {
				t.Errorf("ip %q: %v %s", args, err, out)
			}
		}
	}()
	first := <-got
	if first.err != nil {
		t.Skipf("a network namespace: %v", first.err)
	}
	defer close(steps)
	if first.told == nil {
		t.Fatal("the kernel does not tell")
	}
	for _, args := range [][]string{
		{"link", "set", "lo", "up"},
		{"addr", "add", "10.9.8.7/32", "dev", "lo"},
		{"route", "add", "10.9.9.0/24", "dev", "lo"},
		{"addr", "del", "10.9.8.7/32", "dev", "lo"},
	} {
		steps <- args
		select {
		case <-first.told:
		case <-time.After(time.Minute):
			t.Fatalf("ip %q: nothing was told", args)
		}
		for quiet := false; !quiet; { // one change may be told more than once
			select {
			case <-first.told:
			case <-time.After(50 * time.Millisecond):
				quiet = true
			}
		}
	}
	end()
	for range first.told { // until it is closed
	}
}
