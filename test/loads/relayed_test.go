package loads

import (
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"rtcd/test/soak"
)

// Reasons for which rtcd drops what strangers send: they are not the load's losses.
var strangers = []string{
	"rtcd: not_turn", "rtcd: malformed", "rtcd: bad_checksum", "rtcd: unknown_method", "rtcd: no_allocation",
	"rtcd: rate_limited", "rtcd: binding_limited", "rtcd: login_limited",
}

// load relays between clients and to peers.
func load(t *testing.T, s *server, o soak.Options) *soak.Report {
	t.Helper()
	o.Lab, o.Server, o.Client, o.Peer = world.net, world.server, world.clients, world.peers
	o.Port, o.Secret, o.Metrics = turnPort, secret, s.admin.Metrics
	if o.Size == 0 {
		o.Size = 160
	}
	r, err := soak.Run(t.Context(), o)
	must(t, err)
	return r
}

// wantAccount wants every packet received, once, in order and whole, or lost by a counter that is not only
// somebody else's. (Where others lose packets too, a counter may tell of more than the load has lost.)
func (r *row) wantAccount(report *soak.Report, notOurs ...string) {
	r.t.Helper()
	missing, named := int64(report.Sent)-int64(report.Received), int64(0)
	var counted []string
	for _, l := range report.Losses {
		if strings.HasPrefix(l.Name, "atk: ") || slices.Contains(notOurs, l.Name) {
			continue
		}
		named += l.Count
		counted = append(counted, l.Name)
	}
	if report.Sent == 0 || missing < 0 || missing > named {
		r.t.Errorf("%d packets sent, %d received, %d lost by %q: %d unexplained", report.Sent, report.Received, named, counted, missing-named)
	}
	if report.Duplicates+report.Reordered+report.Corrupt > 0 {
		r.t.Errorf("%d packets came twice, %d after later ones, %d otherwise than sent", report.Duplicates, report.Reordered, report.Corrupt)
	}
	r.figure("%d packets sent (%.0f/s), %d lost, %d of them unexplained", report.Sent, float64(report.Sent)/report.Seconds, missing, max(0, missing-named))
}

// L1 at the rate of the form.
func fullLoad(t *testing.T) soak.Options {
	return soak.Options{Calls: either(25, 250), Outside: either(50, 500), Rate: either(2000., 20_000), For: sustained(t)}
}

func TestL1RelayedLoadIsAccountedFor(t *testing.T) {
	row := newRow(t, "L1", "relayed load, 160 B, every packet accounted for")
	o := fullLoad(t)
	r := load(t, serve(t), o)
	row.figure("%d allocations, %.0f s", 2*o.Calls+o.Outside, r.Seconds)
	row.wantAccount(r)
	if err := r.Err(); err != nil {
		t.Errorf("%v\n%s", err, r)
	}
	first, last := r.Samples[min(1, len(r.Samples)-1)], r.Samples[len(r.Samples)-1]
	row.figure("memory %s to %s, goroutines %.0f to %.0f, descriptors %.0f to %.0f", mebibytes(first.Resident), mebibytes(last.Resident),
		first.Goroutines, last.Goroutines, first.Descriptors, last.Descriptors)
}

func TestL7AttackInTheBackground(t *testing.T) {
	row := newRow(t, "L7", "L1 at half its rate, with a flood of unauthenticated datagrams, 200 idle TCP connections and 50 wrong logins/s from an address")
	o := fullLoad(t)
	o.Rate /= 2
	// What strangers may do is as by default.
	s := serve(t, "turn.limits.unauthenticated_per_ip=10/s", "turn.limits.connections_per_ip=32")
	a := attack(t, s, either(1000, 5000), 200, 50)
	var held float64
	o.During = func() error {
		held = s.metric(t, `rtcd_turn_connections\{.*\}`)
		return nil
	}
	r := load(t, s, o)
	a.end()
	row.figure("%d datagrams, %d connections and %d wrong logins of strangers", a.datagrams.Load(), a.connections.Load(), a.logins.Load())
	row.wantAccount(r, strangers...)
	if a.datagrams.Load() == 0 || a.connections.Load() < 200 || a.logins.Load() == 0 {
		t.Error("nobody attacked")
	}
	answered := s.metric(t, `rtcd_turn_requests_total\{.*\}`)
	limited := s.metric(t, `rtcd_turn_dropped_packets_total\{reason="(rate|binding|login)_limited"\}`)
	row.figure("%.0f requests went unanswered by limits, %.0f were answered", limited, answered)
	if limited == 0 {
		t.Error("no limit met the flood")
	}
	if held > 32 {
		t.Errorf("strangers of one address hold %v connections, want at most 32", held)
	}
}

func TestF14ThePausedProcessGoesOn(t *testing.T) {
	if !long() {
		return
	}
	row := newRow(t, "F14", "SIGSTOP for 10 s in the middle of L1's load, then SIGCONT")
	s := serve(t)
	var drained time.Duration
	probe := s.mustDial(t, "udp", "probe")
	o := soak.Options{Calls: 50, Outside: 100, Rate: 5000, For: 45 * time.Second}
	o.During = func() error {
		if err := syscall.Kill(s.pid, syscall.SIGSTOP); err != nil {
			return err
		}
		time.Sleep(10 * time.Second)
		begin := time.Now()
		if err := syscall.Kill(s.pid, syscall.SIGCONT); err != nil {
			return err
		}
		err := probe.Ping()
		drained = time.Since(begin)
		return err
	}
	r := load(t, s, o)
	row.wantAccount(r)
	row.figure("%d packets overflowed the sockets meanwhile; a request behind the backlog was answered after %s", r.Overflow, millis(drained))
	if r.Overflow == 0 || r.Left > 0 {
		t.Errorf("%d overflows, %.0f allocations left: was it paused?", r.Overflow, r.Left)
	}
	if drained > 30*time.Second {
		t.Errorf("the backlog took %v", drained)
	}
}
