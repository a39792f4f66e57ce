package loads

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"rtcd/test/soak"
)

// steadyFor is how long L2 lasts: RTCD_SOAK_FOR, which `make soak-hour` sets.
func steadyFor(t *testing.T) time.Duration {
	t.Helper()
	text := os.Getenv("RTCD_SOAK_FOR")
	if text == "" {
		return either(10*time.Second, time.Minute)
	}
	d, err := time.ParseDuration(text)
	must(t, err)
	return d
}

// L2: everything at once, for as long as anybody wants to wait. Nothing may get lost that no counter names, no message of
// a room either, and what the server uses stays what it was.
func TestL2EverythingAtOnce(t *testing.T) {
	const size, speakers = 160, 1 // messages/s of a room
	length := steadyFor(t)
	full := long() || os.Getenv("RTCD_SOAK_FOR") != ""
	count := func(short, all int) int {
		if full {
			return all
		}
		return short
	}
	rate, churning, members := count(2000, 10_000), count(50, 500), count(50, 500)
	row := newRow(t, "L2", fmt.Sprintf("%d relayed packets/s of %d B wanted, beside %d allocations that come and go and %d WebSockets in rooms of five, for %v",
		rate, size, churning, members, length))
	s := serve(t)
	idle := s.descriptors()
	m := meet(t, s, members, members/5)
	c := newChurn(t, s, churning, min(time.Minute, length/4))
	o := soak.Options{Calls: count(10, 100), Outside: count(20, 200), Rate: float64(rate), Size: size, For: length}
	var coming, talking error // told at the end: the account of an hour is not to be lost for them
	o.Beside = func(ctx context.Context) error {
		var both sync.WaitGroup
		// Beside owns both; the end of the sending ends them.
		both.Go(func() { coming = c.run(ctx) })
		both.Go(func() { talking = m.talk(ctx, speakers) })
		both.Wait()
		return nil
	}
	r := load(t, s, o)
	if err := errors.Join(coming, talking); err != nil {
		t.Error(err)
		s.logEnds(t)
	}
	row.wantAccount(r)
	if r.Left > 0 {
		t.Errorf("%.0f allocations are left", r.Left)
	}
	row.figure("%d allocations came and went, %d of them over TCP; %d of %d packets that they sent were echoed", c.gone.Load(), c.streams.Load(), c.echoed.Load(), c.sent.Load())
	if c.gone.Load() < int64(churning) {
		t.Errorf("only %d allocations came and went, want %d at least", c.gone.Load(), churning)
	}
	m.wantAll(t, row)
	row.wantSteady(r.Samples, length)
	s.wantIdle(t, row, idle)
	row.detail = r.String()
}

// logEnds tells why rtcd and the kernel ended allocations and connections.
func (s *server) logEnds(t *testing.T) {
	t.Helper()
	text, err := s.admin.Metrics(patient(t))
	must(t, err)
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "rtcd_turn_connections_ended_total") || strings.HasPrefix(line, "rtcd_turn_allocations_closed_total") {
			t.Log(strings.TrimSpace(line))
		}
	}
	kernel, err := world.server.Command(patient(t), "cat", "/proc/net/netstat", "/proc/net/snmp").Output()
	must(t, err)
	for line := range strings.Lines(string(kernel)) {
		if strings.HasPrefix(line, "Tcp") {
			t.Log(strings.TrimSpace(line))
		}
	}
}

// wantSteady wants the last third of the samples to be like the first, after a tenth in which all begins. It is a matter of
// minutes: a shorter run only says what it saw.
func (r *row) wantSteady(samples []soak.Sample, length time.Duration) {
	const mayGrow, moreBytes, moreOthers = 0.05, 4 << 20, 8
	samples = samples[:max(1, len(samples)-1)] // the last one is of when all has ended
	samples = samples[min(len(samples)-1, (len(samples)+9)/10):]
	third := max(1, len(samples)/3)
	first, last := samples[:third], samples[len(samples)-third:]
	middle := func(list []soak.Sample, what func(soak.Sample) float64) float64 {
		var values []float64
		for _, s := range list {
			values = append(values, what(s))
		}
		slices.Sort(values)
		return values[len(values)/2]
	}
	check := func(name string, more float64, show func(float64) string, what func(soak.Sample) float64) {
		before, after := middle(first, what), middle(last, what)
		r.figure("%s %s in the first third, %s in the last", name, show(before), show(after))
		if most := before*(1+mayGrow) + more; after > most && length >= 5*time.Minute {
			r.t.Errorf("%s grew from %s to %s, want at most %s", name, show(before), show(after), show(most))
		}
	}
	whole := func(n float64) string { return fmt.Sprintf("%.0f", n) }
	check("memory", moreBytes, mebibytes, func(s soak.Sample) float64 { return s.Resident })
	check("goroutines", moreOthers, whole, func(s soak.Sample) float64 { return s.Goroutines })
	check("descriptors", moreOthers, whole, func(s soak.Sample) float64 { return s.Descriptors })
}

// meeting is members in rooms who talk, and what each has heard.
type meeting struct {
	hub     *hub
	rooms   int
	begin   time.Time
	ledgers []ledger // each belongs to its member's reader
	arrived atomic.Int64
	sent    atomic.Int64
	unsaid  atomic.Int64 // to a socket that was lost
}

func meet(t *testing.T, s *server, members, rooms int) *meeting {
	t.Helper()
	m := &meeting{rooms: rooms, begin: time.Now(), ledgers: make([]ledger, members)}
	for i := range m.ledgers {
		m.ledgers[i].last = map[string]int{}
	}
	m.hub = joinAll(t, s, members, rooms, func(i int, from string, what numbered) {
		m.ledgers[i].take(from, what, time.Since(m.begin))
		m.arrived.Add(1)
	})
	return m
}

// talk has the members of each room say something in turn, until ctx is done. A lost socket is opened again by its member,
// and does not end the talk.
func (m *meeting) talk(ctx context.Context, rate int) error {
	every := time.Second / time.Duration(rate)
	var speakers sync.WaitGroup
	for room := range m.rooms {
		// talk owns it; ctx ends it.
		speakers.Go(func() {
			clock := time.NewTicker(every)
			defer clock.Stop()
			for n := 0; ; n++ {
				select {
				case <-clock.C:
				case <-ctx.Done():
					return
				}
				speaker := m.hub.members[room+m.rooms*(n%(len(m.hub.members)/m.rooms))]
				if err := speaker.say(time.Since(m.begin)); err != nil {
					m.unsaid.Add(1)
					continue
				}
				m.sent.Add(1)
			}
		})
	}
	speakers.Wait()
	return nil
}

// wantAll ends the meeting and wants every message to have reached everybody else in its room, once and in order.
func (m *meeting) wantAll(t *testing.T, r *row) {
	t.Helper()
	const quiet = 5 * time.Second
	wanted := m.sent.Load() * int64(len(m.ledgers)/m.rooms-1)
	for last := int64(-1); m.arrived.Load() < wanted && m.arrived.Load() != last; time.Sleep(quiet) {
		last = m.arrived.Load()
	}
	m.hub.end()
	heard, strange, again := 0, 0, int64(0)
	for i := range m.ledgers {
		heard += m.ledgers[i].heard
		strange += m.ledgers[i].strange
		again += m.hub.members[i].welcomes.Load() - 1
	}
	r.figure("%d messages to rooms: %d of %d arrived, %d lost, doubled or out of order; sockets lost and opened again: %d", m.sent.Load(), heard, wanted, strange, again)
	if wanted == 0 || int64(heard) != wanted || strange > 0 {
		t.Errorf("%d of %d messages arrived, %d lost, doubled or out of order; %d were not said, for a lost socket", heard, wanted, strange, m.unsaid.Load())
	}
}
