package loads

import (
	"context"
	"errors"
	"os"
	"sync"
	"testing"
	"time"

	"rtcd/test/lab"
)

// world is what all tests share. They run one after another.
var world struct {
	net     *lab.Net
	server  *lab.Node
	clients *lab.Node
	peers   *lab.Node
	others  *lab.Node // strangers
	program string    // the built rtcd
}

func TestMain(m *testing.M) {
	lab.Main(func(dir string) (int, error) { return runAll(m, dir) })
}

func runAll(m *testing.M, dir string) (code int, err error) {
	if os.Getuid() != 0 {
		return 1, errors.New("network namespaces need root")
	}
	if world.program, err = lab.Build("../..", dir); err != nil {
		return 1, err
	}
	if world.net, err = lab.New(); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, world.net.Close()) }()
	for _, n := range []struct {
		node **lab.Node
		name string
		host byte
	}{{&world.server, "srv", 0x30}, {&world.clients, "cli", 0x31}, {&world.peers, "peer", 0x32}, {&world.others, "atk", 0x33}} {
		if *n.node, err = world.net.Add(n.name, n.host); err != nil {
			return 1, err
		}
	}
	code = m.Run()
	return code, writeReport()
}

// long says whether the long form of the tests is wanted.
func long() bool { return os.Getenv("RTCD_TEST_LONG") == "1" }

// either is the short form's value or the long form's.
func either[T any](short, full T) T {
	if long() {
		return full
	}
	return short
}

// sustained is how long a load lasts that is to show that nothing grows: RTCD_LOADS_FOR in the long form.
func sustained(t *testing.T) time.Duration {
	t.Helper()
	if !long() {
		return 30 * time.Second
	}
	text := os.Getenv("RTCD_LOADS_FOR")
	if text == "" {
		return 5 * time.Minute
	}
	d, err := time.ParseDuration(text)
	must(t, err)
	return d
}

// patient is the context of a step: nothing here is measured by it, so the deadline is generous.
func patient(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// eventually waits until the condition holds. What it polls is cheap.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	ctx := patient(t)
	for !holds() {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("%s: did not come about", what)
		}
	}
}

// must ends the test on an error.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// each calls f for every element, some at a time, and returns all errors.
func each[T any](list []T, f func(i int, x T) error) error {
	const atOnce = 32
	var workers sync.WaitGroup
	next, errs := make(chan int), make([]error, len(list))
	for range atOnce {
		// each owns the workers; the closing of next ends them.
		workers.Go(func() {
			for i := range next {
				errs[i] = f(i, list[i])
			}
		})
	}
	for i := range list {
		next <- i
	}
	close(next)
	workers.Wait()
	return errors.Join(errs...)
}
