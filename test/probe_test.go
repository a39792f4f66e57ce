package test

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
)

// TestProbeSeesAClosedRange: on the command line as on the check page, a relay whose ports a
// firewall closes is told apart from one that works.
func TestProbeSeesAClosedRange(t *testing.T) {
	server := startRTCD(t)
	credentials := server.target(t)
	probe := func(f family) (ok bool, inbound, reason, remedy string) {
		t.Helper()
		url := "turn:" + netip.AddrPortFrom(own(world.server, f), turnPort).String() + "?transport=udp"
		out, err := world.alice.Command(patient(t), world.program, "probe", "--json", "--username", credentials.user,
			"--credential", credentials.password, url).Output()
		var reports []struct {
			OK      bool
			Steps   []struct{ Name, Detail string }
			Problem struct{ Reason, Remedy string }
		}
		if jsonErr := json.Unmarshal(out, &reports); jsonErr != nil || len(reports) != 1 {
			t.Fatalf("%v, %v: %s", err, jsonErr, out)
		}
		r := reports[0]
		if r.OK != (err == nil) {
			t.Errorf("ok is %v, and the exit: %v", r.OK, err)
		}
		for _, step := range r.Steps {
			if step.Name == "inbound" {
				inbound = step.Detail
			}
		}
		return r.OK, inbound, r.Problem.Reason, r.Problem.Remedy
	}
	if ok, inbound, reason, _ := probe(ip4); !ok || !strings.HasPrefix(inbound, "packets from "+world.alice.IP4.String()) {
		t.Errorf("an open range: ok %v, inbound %q, %s", ok, inbound, reason)
	}
	// The client of the probe asks for IPv4 relays only.
	if ok, inbound, reason, _ := probe(ip6); !ok || !strings.HasPrefix(inbound, "not tested: "+world.alice.IP6.String()+" is of another family") {
		t.Errorf("over IPv6: ok %v, inbound %q, %s", ok, inbound, reason)
	}
	firewall(t, closedRange())
	ok, _, reason, remedy := probe(ip4)
	if ok || !strings.Contains(reason, "no packet from this network reaches its relayed addresses") || !strings.Contains(remedy, "turn.relay_ports") {
		t.Errorf("a closed range: ok %v, %q, %q", ok, reason, remedy)
	}
}
