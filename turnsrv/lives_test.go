package turnsrv

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"rtcd/turnsrv/relay"
)

// TestEndsOfAllocations: each is counted under its reason when it happens, with how long it
// has lived; words that somebody gave to Kill become no label.
func TestEndsOfAllocations(t *testing.T) {
	s := serve(t, testOptions(everyListener("127.0.0.1")...))
	registry := prometheus.NewRegistry()
	registry.MustRegister(s.Collector())
	for _, reason := range []string{"made up by somebody", "and once more", "revoked"} {
		c := dial(t, s, relay.UDP)
		c.allocate(1)
		if !s.Kill(s.Allocations()[0].ID, reason) {
			t.Fatal("no allocation to end")
		}
	}
	for reason, want := range map[string]uint64{"killed": 2, "revoked": 1, "released": 0, "shutdown": 0} {
		if n := metric(s, "allocations_closed", reason); n != want {
			t.Errorf("%d were %s, want %d", n, reason, want)
		}
	}
	if n := metric(s, "allocations_created", "udp"); n != 3 {
		t.Errorf("%d were made", n)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "rtcd_turn_allocation_duration_seconds" && f.GetMetric()[0].GetHistogram().GetSampleCount() == 3 {
			return
		}
	}
	t.Error("the durations of the three are missing")
}
