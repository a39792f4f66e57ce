package diagnosis

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"rtcd/creds"
	"rtcd/turnsrv/relay"
)

// fakeRelay notes whom it is to watch.
type fakeRelay struct {
	watched []netip.Addr
	traced  atomic.Pointer[relay.Info] // nil: none
}

func (f *fakeRelay) Watch(addrs []netip.Addr) { f.watched = addrs }

func (f *fakeRelay) Traced() []relay.Info {
	if i := f.traced.Load(); i != nil {
		return []relay.Info{*i}
	}
	return nil
}

var (
	here   = netip.MustParseAddr("11.22.33.101")
	client = netip.MustParseAddrPort("11.22.33.101:5000")
)

func newDesk() (*Desk, *fakeRelay) {
	d, f := New(), &fakeRelay{}
	d.SetRelay(f)
	return d, f
}

func mustOpen(t *testing.T, d *Desk, addrs ...netip.Addr) *Check {
	t.Helper()
	c, err := d.Open(time.Now(), addrs...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// heard is what waits for a check's holder, in short.
func (c *Check) heard() (out []string) {
	for {
		select {
		case s, ok := <-c.out:
			if !ok {
				return append(out, "over")
			}
			n := "-"
			if s.N != nil {
				n = fmt.Sprint(*s.N)
			}
			out = append(out, s.See+" "+n)
		default:
			return out
		}
	}
}

func (c *Check) user(n int) string { return creds.UserOfCheck(c.ID, n, true) }

func (c *Check) name(n int) string { return fmt.Sprintf("%010d:%s", time.Now().Unix()+60, c.user(n)) }

func wantHeard(t *testing.T, c *Check, what string, want ...string) {
	t.Helper()
	if got := c.heard(); !slices.Equal(got, want) {
		t.Errorf("%s: heard %q, want %q", what, got, want)
	}
}

func TestWhoHearsWhat(t *testing.T) {
	d, f := newDesk()
	a, b := mustOpen(t, d, here), mustOpen(t, d, netip.MustParseAddr("2a11:22:33:44::1"))
	d.Trace(relay.Trace{Kind: relay.TraceChallenged, Client: client})
	wantHeard(t, a, "nameless at its address", "challenged -")
	wantHeard(t, b, "nameless elsewhere")
	d.Trace(relay.Trace{Kind: relay.TraceBound, Client: netip.MustParseAddrPort("[2a11:22:33:44:5::9]:1")})
	wantHeard(t, b, "nameless in its /64", "bound -")
	d.Trace(relay.Trace{Kind: relay.TraceRefused, Username: a.name(2), Client: netip.MustParseAddrPort("11.22.33.99:1"), Code: 401})
	wantHeard(t, a, "its own name, from anywhere", "refused 2")
	d.Trace(relay.Trace{Kind: relay.TraceRefused, Username: "1800000000:alice", Client: client})
	d.Event(relay.Event{Kind: relay.Allocated, Info: relay.Info{User: "alice", Client: client}})
	d.Event(relay.Event{Kind: relay.Refreshed, Info: relay.Info{User: a.user(1), Client: client}})
	d.Event(relay.Event{Kind: relay.Closed, Info: relay.Info{User: creds.UserOfCheck("nobodys", 1, true)}})
	wantHeard(t, a, "others, and what does not matter")
	elsewhere := netip.MustParseAddrPort("11.22.33.77:9")
	d.Trace(relay.Trace{Kind: relay.TraceRefused, Username: a.name(1), Client: elsewhere})
	d.Trace(relay.Trace{Kind: relay.TraceBound, Client: elsewhere})
	wantHeard(t, a, "a name from elsewhere, which anybody can forge", "refused 1")
	d.Event(relay.Event{Kind: relay.Allocated, Info: relay.Info{User: a.user(1), Client: elsewhere}})
	d.Trace(relay.Trace{Kind: relay.TraceBound, Client: elsewhere})
	wantHeard(t, a, "once it has allocated from there", "allocated 1", "bound -")
	a.Close()
	a.Close()
	wantHeard(t, a, "after its end", "over")
	d.Trace(relay.Trace{Kind: relay.TraceRefused, Username: a.name(2)})
	if len(f.watched) != 1 {
		t.Errorf("watched: %v; want the other check's alone", f.watched)
	}
}

// The first bytes of each direction are told once; what an allocation has relayed
// between the last look and its end is told before that.
func TestRelayedIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, f := newDesk()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- d.Run(ctx) }()
		c := mustOpen(t, d, here)
		info := relay.Info{ID: 7, User: c.user(1)}
		d.Event(relay.Event{Kind: relay.Allocated, Info: info})
		f.traced.Store(&relay.Info{ID: 7, User: info.User})
		time.Sleep(2 * lookEvery)
		synctest.Wait()
		wantHeard(t, c, "nothing relayed", "allocated 1")
		info.SentBytes = 10
		f.traced.Store(&relay.Info{ID: 7, User: info.User, SentBytes: 10})
		time.Sleep(4 * lookEvery)
		synctest.Wait()
		wantHeard(t, c, "sent", "relayed 1")
		info.ReceivedBytes = 10
		d.Event(relay.Event{Kind: relay.Closed, Info: info, Reason: "released"})
		wantHeard(t, c, "received, and closed", "relayed 1", "closed 1")
		time.Sleep(MaxTime)
		synctest.Wait()
		wantHeard(t, c, "after the longest time", "over")
		other := mustOpen(t, d, here)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		wantHeard(t, other, "after the end of the process", "over")
		if _, err := d.Open(time.Now(), here); !errors.Is(err, ErrBusy) {
			t.Errorf("opened after the end: %v", err)
		}
	})
}

// Checks and what waits for them are bounded; what is lost is told.
func TestDeskIsBounded(t *testing.T) {
	d, _ := newDesk()
	c := mustOpen(t, d, here)
	for range mostOfOne - 1 {
		mustOpen(t, d, here)
	}
	if _, err := d.Open(time.Now(), here); !errors.Is(err, ErrBusy) {
		t.Errorf("one more of the address: %v", err)
	}
	for i := range mostChecks - mostOfOne {
		mustOpen(t, d, netip.AddrFrom4([4]byte{11, 22, 44, byte(i)}))
	}
	if _, err := d.Open(time.Now(), netip.MustParseAddr("11.22.55.1")); !errors.Is(err, ErrBusy) {
		t.Errorf("one more of all: %v", err)
	}
	for range mostWaiting + 10 {
		d.Trace(relay.Trace{Kind: relay.TraceBound, Client: client})
	}
	if n := len(c.heard()); n != mostWaiting {
		t.Errorf("%d wait, want %d", n, mostWaiting)
	}
	d.Trace(relay.Trace{Kind: relay.TraceBound, Client: client})
	if s := <-c.out; s.Lost != 10 {
		t.Errorf("lost: %d, want 10", s.Lost)
	}
}
