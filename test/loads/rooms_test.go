package loads

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// ledger is what one member has heard of whom.
type ledger struct {
	last    map[string]int // by sender: the number of its newest message
	heard   int
	strange int             // lost before, come twice, or out of order
	took    []time.Duration // from sender to receiver
}

func (l *ledger) take(from string, what numbered, now time.Duration) {
	if what.N != l.last[from]+1 {
		l.strange++
	}
	l.last[from] = what.N
	l.heard++
	l.took = append(l.took, now-what.At)
}

func TestL5Rooms(t *testing.T) {
	if !long() {
		return
	}
	const members, rooms, rate = 2000, 400, 10
	row := newRow(t, "L5", fmt.Sprintf("%d WebSockets in %d rooms, %d messages/s in each room", members, rooms, rate))
	s := serve(t)
	begin := time.Now()
	ledgers := make([]ledger, members) // each belongs to its member's reader
	var arrived atomic.Int64
	for i := range ledgers {
		ledgers[i].last = map[string]int{}
	}
	h := joinAll(t, s, members, rooms, func(m int, from string, what numbered) {
		ledgers[m].take(from, what, time.Since(begin))
		arrived.Add(1)
	})
	h.talk(t, rooms, rate, sustained(t)/4, begin)
	before := s.resident(t)
	sent := h.talk(t, rooms, rate, sustained(t)*3/4, begin)
	wanted := sent * (members/rooms - 1)
	const quiet = 10 * time.Second
	for last := int64(-1); arrived.Load() < int64(wanted) && arrived.Load() != last; time.Sleep(quiet) {
		last = arrived.Load()
	}
	after := s.resident(t)
	row.figure("memory %s after a quarter, %s at the end", mebibytes(before), mebibytes(after))
	if most := 1.2*before + 16<<20; after > most {
		t.Errorf("memory grew from %s to %s, want at most %s", mebibytes(before), mebibytes(after), mebibytes(most))
	}
	h.end()
	var heard, strange int
	var took []time.Duration
	for i := range ledgers {
		heard += ledgers[i].heard
		strange += ledgers[i].strange
		took = append(took, ledgers[i].took...)
	}
	row.figure("%d messages in %.0f s to four members each: %d of %d arrived, %d lost, doubled or out of order", sent, time.Since(begin).Seconds(), heard, wanted, strange)
	row.figure("on the way %s in the median, %s p99", millis(quantile(took, 0.5)), millis(quantile(took, 0.99)))
	if heard != wanted || strange > 0 {
		t.Errorf("%d of %d messages arrived, %d lost, doubled or out of order", heard, wanted, strange)
	}
	for _, m := range h.members {
		if m.welcomes.Load() != 1 || m.refusals.Load() > 0 {
			t.Fatalf("a member was welcomed %d times and refused %d messages", m.welcomes.Load(), m.refusals.Load())
		}
	}
}

// talk has the members of each room say something in turn, and returns how much they have said in all, also before.
func (h *hub) talk(t *testing.T, rooms, rate int, length time.Duration, begin time.Time) (sent int) {
	t.Helper()
	var speakers sync.WaitGroup
	errs := make([]error, rooms)
	for room := range rooms {
		// talk owns it; the length ends it.
		speakers.Go(func() {
			every := time.Second / time.Duration(rate)
			start := time.Now().Add(every * time.Duration(room) / time.Duration(rooms))
			for n := 0; n < int(length/every); n++ {
				time.Sleep(time.Until(start.Add(time.Duration(n) * every)))
				speaker := h.members[room+rooms*(n%(len(h.members)/rooms))]
				if errs[room] = speaker.say(time.Since(begin)); errs[room] != nil {
					return
				}
			}
		})
	}
	speakers.Wait()
	for _, err := range errs {
		must(t, err)
	}
	for _, m := range h.members {
		sent += m.sent
	}
	return sent
}

func TestL6ReconnectStorm(t *testing.T) {
	if !long() {
		return
	}
	const members, rooms = 2000, 400
	row := newRow(t, "L6", fmt.Sprintf("kill -9 with %d WebSockets in %d rooms, then a start; all come back within about a second", members, rooms))
	s := serve(t)
	h := joinAll(t, s, members, rooms)
	begin := time.Now()
	s.kill(t)
	s.start(t)
	ready := time.Now()
	h.wantAllBack(t)
	row.figure("ready after %s; all %d back %s later", seconds(ready.Sub(begin)), members, seconds(time.Since(ready)))
	for _, m := range h.members {
		if m.refusals.Load() > 0 {
			t.Fatal("a member was refused")
		}
	}
	eventually(t, "no ghost is in a room", func() bool { return s.metric(t, `rtcd_signaling_sessions\{dialect="native"\}`) == members })
	if d := time.Since(ready); d > time.Minute {
		t.Errorf("all were back after %v", d)
	}
}
