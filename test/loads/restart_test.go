package loads

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"rtcd/test/turnclient"
)

// F15: who had an allocation learns at once that it is gone, and whoever was in a room is in it again.
func TestF15Restart(t *testing.T) {
	count, members := either(50, 500), either(20, 200)
	row := newRow(t, "F15", fmt.Sprintf("restart with SIGINT, then kill -9, with %d allocations and %d members of rooms", count, members))
	s := serve(t)
	list := s.allocate(t, count)
	hub := joinAll(t, s, members, members/5)
	for _, how := range []struct {
		name string
		end  func()
	}{
		{"SIGINT", func() { s.end(t, syscall.SIGINT) }},
		{"kill -9", func() { s.kill(t) }},
	} {
		how.end()
		s.start(t)
		ready := time.Now()
		took := make([]time.Duration, count)
		must(t, each(list, func(i int, c *turnclient.Client) error {
			begin := time.Now()
			err := c.Refresh(10 * time.Minute)
			took[i] = time.Since(begin)
			if !refused(err, 437) {
				return fmt.Errorf("Refresh after %s: %w, want 437", how.name, err)
			}
			return nil
		}))
		stale := s.answers(t, "refresh", "438")
		if stale != 0 {
			t.Errorf("%s: %d nonces of before are stale, want none", how.name, stale)
		}
		row.figure("%s: 437 to the next Refresh after %s in the median, %s at most, 438 to %d",
			how.name, millis(quantile(took, 0.5)), millis(quantile(took, 1)), stale)
		hub.wantAllBack(t)
		row.figure("%d members were back %s after the server", members, seconds(time.Since(ready)))
		must(t, each(list, func(_ int, c *turnclient.Client) error { return c.Allocate() }))
	}
}
