package natlab

import (
	"slices"
	"testing"
	"time"

	"rtcd/test/lab"
)

// at is a member to be at a home of its own.
func at(t *testing.T, s *server, home *lab.NAT, name string, options memberOptions) func(room string) *member {
	return func(room string) *member {
		t.Helper()
		return enter(t, s, home, room, name, options)
	}
}

// directFirst has a relayed path wait long for a direct one, where the test wants that to win also on a slow machine.
var directFirst = memberOptions{patience: 20 * time.Second}

func TestFullConesCallDirectly(t *testing.T) {
	s := serve(t, nil)
	_, found := meet(t, at(t, s, home(t, lab.FullCone), "alice", directFirst), at(t, s, home(t, lab.FullCone), "bob", directFirst))
	t.Logf("%s after %v", found, found.Took)
	if found.relayed() {
		t.Errorf("connected %s; want directly", found)
	}
}

func TestSymmetricNATsCallThroughTheRelay(t *testing.T) {
	s := serve(t, nil)
	_, found := meet(t, at(t, s, home(t, lab.Symmetric), "alice", memberOptions{}), at(t, s, home(t, lab.Symmetric), "bob", memberOptions{}))
	t.Logf("%s after %v", found, found.Took)
	if !found.by("udp") {
		t.Errorf("connected %s; want relayed by UDP", found)
	}
}

// F16: where UDP does not pass, calls go through the relay over TCP, and where only port 443 is open, over TLS.
func TestFirewallsLeaveAWay(t *testing.T) {
	s := serve(t, nil)
	for _, c := range []struct {
		name       string
		ours       string // what alice's firewall drops
		theirs     string // and bob's
		alice, bob []string
	}{
		{"UDP blocked on one side", lab.BlockUDP, lab.BlockNone, []string{"tcp", "tls"}, []string{"udp", "tcp", "tls"}},
		{"UDP blocked on both sides", lab.BlockUDP, lab.BlockUDP, []string{"tcp", "tls"}, []string{"tcp", "tls"}},
		{"only 443 open on one side", lab.OnlyTLS, lab.BlockNone, []string{"tls"}, []string{"udp", "tcp", "tls"}},
		{"only 443 open on both sides", lab.OnlyTLS, lab.OnlyTLS, []string{"tls"}, []string{"tls"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel() // pion waits for answers when it closes
			ours, theirs := home(t, lab.PortRestricted), home(t, lab.PortRestricted)
			must(t, ours.Block(c.ours))
			must(t, theirs.Block(c.theirs))
			_, found := meet(t, at(t, s, ours, "alice", memberOptions{}), at(t, s, theirs, "bob", memberOptions{}))
			t.Logf("%s after %v", found, found.Took)
			if !found.by(append(c.alice, c.bob...)...) || !found.Legs[0].allowed(c.alice) || !found.Legs[1].allowed(c.bob) {
				t.Errorf("connected %s; want relayed, alice by %v, bob by %v", found, c.alice, c.bob)
			}
		})
	}
}

// allowed says whether this end relays by one of the transports, or not at all.
func (l leg) allowed(transports []string) bool {
	return l.Local != "relay" || slices.Contains(transports, l.Via)
}
