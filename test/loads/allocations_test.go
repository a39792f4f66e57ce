package loads

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"rtcd/test/turnclient"
)

// What a number of descriptors may differ by from one time to another: those of scrapes and of the program itself.
const fewDescriptors = 4

func TestL3IdleAllocations(t *testing.T) {
	if !long() {
		return
	}
	const count, rounds, most = 5000, 3, 12_000
	row := newRow(t, "L3", "5,000 idle allocations of UDP clients, each refreshed three times")
	s := serve(t)
	release(t, s.allocate(t, 100)) // so that pools are filled
	s.collect(t)
	const heap = "go_memstats_heap_alloc_bytes"
	before, heapBefore, idle := s.resident(t), s.metric(t, heap), s.descriptors()
	list := s.allocate(t, count)
	s.collect(t)
	bytes, heapBytes := (s.resident(t)-before)/count, (s.metric(t, heap)-heapBefore)/count
	row.figure("each %.0f bytes of resident memory, %.0f bytes of heap", bytes, heapBytes)
	if max(bytes, heapBytes) > most {
		t.Errorf("an idle allocation costs %.0f bytes, %.0f on the heap; want less than %d", bytes, heapBytes, most)
	}
	begin := time.Now()
	for range rounds {
		must(t, each(list, func(_ int, c *turnclient.Client) error { return c.Refresh(10 * time.Minute) }))
	}
	row.figure("%d refreshes, none lost, %.0f/s", rounds*count, rounds*count/time.Since(begin).Seconds())
	if n := s.allocations(t); n != count {
		t.Errorf("%d allocations, want %d", n, count)
	}
	release(t, list)
	s.wantIdle(t, row, idle)
}

// collect has the server give back what it no longer uses, as far as a profile of the heap makes it.
func (s *server) collect(t *testing.T) {
	t.Helper()
	_, err := s.admin.Ask(patient(t), "/debug/pprof/heap?gc=1")
	must(t, err)
}

// wantIdle wants no allocation, and not more descriptors than before.
func (s *server) wantIdle(t *testing.T, r *row, before int) {
	t.Helper()
	eventually(t, "all is given back", func() bool {
		return s.allocations(t) == 0 && s.descriptors() <= before+fewDescriptors
	})
	r.figure("after: no allocation, descriptors %d, before %d", s.descriptors(), before)
}

// storm asks for allocations at a rate and returns those that it gets. Refusals with 486 and 508 are counted.
func storm(t *testing.T, s *server, rate int, length time.Duration) (made []*turnclient.Client, refusals int) {
	t.Helper()
	var mu sync.Mutex // guards made, refusals and errs
	var errs []error
	total := int(float64(rate) * length.Seconds())
	start := time.Now()
	_ = each(make([]struct{}, total), func(i int, _ struct{}) error {
		due := start.Add(time.Duration(float64(i) / float64(rate) * float64(time.Second)))
		time.Sleep(time.Until(due))
		c, err := s.dial(world.clients, "udp", fmt.Sprintf("user%d", i))
		if err == nil {
			err = c.Allocate()
		}
		mu.Lock()
		defer mu.Unlock()
		switch {
		case err == nil:
			made = append(made, c)
			return nil
		case refused(err, 508) || refused(err, 486):
			refusals++
		default:
			errs = append(errs, err)
		}
		if c != nil {
			_ = c.Conn.Close()
		}
		return nil
	})
	t.Cleanup(func() {
		for _, c := range made {
			_ = c.Conn.Close()
		}
	})
	if len(errs) > 0 {
		t.Fatalf("%d of %d allocations got another answer than success, 486 or 508, or none: %v …", len(errs), total, errs[0])
	}
	return made, refusals
}

func TestL4AllocationStorm(t *testing.T) {
	if !long() {
		return
	}
	const rate, length = 500, time.Minute
	row := newRow(t, "L4", "500 Allocates/s for 60 s with a lifetime of 600 s, then all released")
	s := serve(t, "turn.port_rest=1s")
	before := s.descriptors()
	start := time.Now()
	made, refusals := storm(t, s, rate, length)
	row.figure("%d succeeded, %d were refused with 486 or 508, all were answered; %.0f/s", len(made), refusals, rate*length.Seconds()/time.Since(start).Seconds())
	if n := s.allocations(t); n != len(made) {
		t.Errorf("%d allocations, the clients have %d", n, len(made))
	}
	release(t, made)
	s.wantIdle(t, row, before)
	for _, c := range made {
		_ = c.Conn.Close() // this process has as many descriptors as the server
	}
	time.Sleep(time.Second) // the ports' rest
	again, refusals := storm(t, s, rate, time.Duration(float64(len(made))/rate*float64(time.Second)))
	row.figure("range back: %d of %d again", len(again), len(made))
	if refusals > 0 {
		t.Errorf("%d refusals where %d allocations were possible before", refusals, len(made))
	}
	release(t, again)
}

func TestF7FullPortRange(t *testing.T) {
	const first, count = 50_000, 100
	rest := either(3*time.Second, 2*time.Minute)
	row := newRow(t, "F7", fmt.Sprintf("a range of %d relay ports used up; a rest of %v", count, rest))
	s := serve(t, fmt.Sprintf("turn.relay_ports=%d-%d", first, first+count-1), "turn.port_rest="+rest.String())
	list := s.allocate(t, count)
	wantPorts(t, list, first, count)

	const more = 10
	for i := range more {
		if err := s.mustDial(t, "udp", fmt.Sprintf("late%d", i)).Allocate(); !refused(err, 508) {
			t.Errorf("allocation %d: %v, want 508", count+1+i, err)
		}
	}
	row.figure("%d of %d allocated, each port once, then %d of %d refused with 508", count, count, more, more)
	if n := s.answers(t, "allocate", "508"); n < more { // retransmissions are answered too
		t.Errorf("the server counts %d answers 508, want %d", n, more)
	}

	begin := time.Now()
	release(t, list[:1])
	early := s.mustDial(t, "udp", "early")
	if err := early.Allocate(); err == nil {
		if d := time.Since(begin); d < rest {
			t.Errorf("a port is used again after %v, want a rest of %v", d, rest)
		}
		release(t, []*turnclient.Client{early})
	} else if !refused(err, 508) {
		t.Error(err)
	}
	release(t, list[1:])
	wantPorts(t, s.allocateAgain(t, count, rest), first, count)
	if d := time.Since(begin); d < rest {
		t.Errorf("all ports were back after %v, want a rest of %v", d, rest)
	}
	row.figure("all %d back %s after the first release", count, seconds(time.Since(begin)))
	if n := s.allocations(t); n != count {
		t.Errorf("%d allocations, want %d", n, count)
	}
}

// allocateAgain makes so many allocations, as soon as ports have rested.
func (s *server) allocateAgain(t *testing.T, count int, rest time.Duration) (list []*turnclient.Client) {
	t.Helper()
	eventually(t, "every port is back", func() bool {
		for len(list) < count {
			c := s.mustDial(t, "udp", fmt.Sprintf("again%d", len(list)))
			if err := c.Allocate(); refused(err, 508) {
				time.Sleep(rest / 10)
				return false
			} else if err != nil {
				t.Fatal(err)
			}
			list = append(list, c)
		}
		return true
	})
	return list
}

// wantPorts wants each port of a range to be the relayed one of one client.
func wantPorts(t *testing.T, list []*turnclient.Client, first, count int) {
	t.Helper()
	var ports []int
	for _, c := range list {
		ports = append(ports, int(c.Relayed.Port()))
	}
	slices.Sort(ports)
	ports = slices.Compact(ports)
	if len(ports) != count || ports[0] != first || ports[count-1] != first+count-1 {
		t.Errorf("%d different ports, from %v; want %d to %d", len(ports), ports, first, first+count-1)
	}
}
