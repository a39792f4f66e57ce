package leak

import (
	"strings"
	"testing"
	"time"
)

func linger(begun chan<- struct{}, until <-chan struct{}, done chan<- struct{}) {
	close(begun)
	<-until
	close(done)
}

func TestWhoLingersIsFound(t *testing.T) {
	begun, until, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
	// Owned by this test; ends when until is closed.
	go linger(begun, until, done)
	<-begun
	if stacks := left("rtcd/internal/leak.linger", time.Nanosecond); !strings.Contains(stacks, "linger") {
		t.Errorf("found: %q", stacks)
	}
	close(until)
	<-done
	if stacks := left("rtcd/internal/leak.linger", time.Minute); stacks != "" {
		t.Errorf("found: %s", stacks)
	}
}
