package relay

import (
	"testing"
	"time"

	"github.com/pion/stun/v3"
)

// The wall clock may be set at any time: lifetimes go by the other one, and a nonce that looks stale, or comes from the
// future, costs its client one more request.
func TestTheWallClockJumps(t *testing.T) {
	for _, jump := range []time.Duration{time.Hour, -time.Hour, 24 * time.Hour, -24 * time.Hour} {
		t.Run(jump.String(), func(t *testing.T) {
			w := newWorld(t)
			c := w.caller("alice", "11.22.33.101:1000")
			c.mustAllocate(lifetime(600))
			c.bind(0x4000, peerA).want(0)

			w.now.Unix += int64(jump / time.Second)
			w.pass(4 * time.Minute)
			w.take()
			c.channelData(0x4000, "after the jump")
			c.wantToPeer(peerA, "after the jump")
			c.learn(c.exchange(c.message(stun.MethodRefresh, nil)).want(438).wantSigned(c))
			c.exchange(c.message(stun.MethodRefresh, attrs{lifetime(600)})).want(0)
			if n := w.table.Len(); n != 1 {
				t.Fatalf("%d allocations, want 1", n)
			}

			w.pass(10*time.Minute - time.Millisecond)
			if n := w.table.Len(); n != 1 {
				t.Errorf("the allocation ended before its time")
			}
			w.pass(time.Millisecond)
			if n := w.table.Len(); n != 0 {
				t.Errorf("the allocation outlives its time")
			}
		})
	}
}
