package leak

import (
	"strings"
	"testing"
	"time"
)

func linger(until <-chan struct{}, done chan<- struct{}) {
	<-until
	close(done)
}

func TestWhoLingersIsFound(t *testing.T) {
	until, done := make(chan struct{}), make(chan struct{})
	// Owned by this test; ends when until is closed.
	go linger(until, done)
	if stacks := left("rtcd/internal/leak.linger", time.Nanosecond); !strings.Contains(stacks, "linger") {
		t.Errorf("found: %q", stacks)
	}
	close(until)
	<-done
	if stacks := left("rtcd/internal/leak.linger", time.Minute); stacks != "" {
		t.Errorf("found: %s", stacks)
	}
}
