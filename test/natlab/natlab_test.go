package natlab

import (
	"slices"
	"testing"
	"time"

	"rtcd/test/lab"
)

// ours makes members at a home.
func ours(t *testing.T, s *server, home *lab.NAT, options memberOptions) enterer {
	return func(room, name string) client {
		t.Helper()
		return enter(t, s, home, room, name, options)
	}
}

// nat is the routers in front of a client, the outermost first.
type nat []lab.NATKind

func (n nat) String() string {
	if len(n) > 1 {
		return "carrier grade"
	}
	return string(n[0])
}

// strict says whether a packet enters only from an address and port that were sent to from the same mapping.
func (n nat) strict() bool { return n.symmetric() || slices.Contains(n, lab.PortRestricted) }

func (n nat) symmetric() bool { return slices.Contains(n, lab.Symmetric) }

// needRelay says whether two clients have no direct path: where one has another mapping for each destination, which
// nobody can guess, and the other admits only the ports that it has sent to.
func needRelay(a, b nat) bool { return a.symmetric() && b.strict() || b.symmetric() && a.strict() }

var nats = []nat{{lab.FullCone}, {lab.Restricted}, {lab.PortRestricted}, {lab.Symmetric}, {lab.PortRestricted, lab.PortRestricted}}

// allPairs is each kind with each, itself too.
func allPairs() (out [][2]nat) {
	for i, first := range nats {
		for _, second := range nats[i:] {
			out = append(out, [2]nat{first, second})
		}
	}
	return out
}

// Two clients connect directly where their NATs let them, else through the relay by UDP.
func TestPairsOfNATs(t *testing.T) {
	s := serve(t, nil)
	pairs := [][2]nat{{nats[0], nats[0]}, {nats[3], nats[3]}}
	// A relayed path waits long for a direct one in the short form, so that this wins on a slow machine too.
	patience := 20 * time.Second
	if long() {
		pairs, patience = allPairs(), 0
	}
	for _, kinds := range pairs {
		t.Run(kinds[0].String()+" with "+kinds[1].String(), func(t *testing.T) {
			options := memberOptions{}
			if !needRelay(kinds[0], kinds[1]) {
				options.patience = patience
			}
			_, found := meet(t, ours(t, s, home(t, kinds[0]...), options), ours(t, s, home(t, kinds[1]...), options))
			record(t, natPairs, goOnly, kinds[0], kinds[1], found, found.Took)
			found.want(t, needRelay(kinds[0], kinds[1]))
		})
	}
}

// want holds that the path is direct, or relayed by UDP.
func (p path) want(t *testing.T, relayed bool) {
	t.Helper()
	if relayed && !p.by("udp") {
		t.Errorf("connected %s; want relayed by UDP", p)
	}
	if !relayed && p.relayed() {
		t.Errorf("connected %s; want directly", p)
	}
}

// wall is a firewall in front of a client, and by what its client can reach the relay.
type wall struct {
	name, rules string
	by          []string
}

var walls = struct{ none, noUDP, only443 wall }{
	wall{"nothing", lab.BlockNone, []string{"udp", "tcp", "tls"}},
	wall{"UDP", lab.BlockUDP, []string{"tcp", "tls"}},
	wall{"all but TCP 443", lab.OnlyTLS, []string{"tls"}},
}

var wallPairs = [][2]wall{
	{walls.noUDP, walls.none},
	{walls.noUDP, walls.noUDP},
	{walls.only443, walls.none},
	{walls.only443, walls.noUDP},
	{walls.only443, walls.only443},
}

// F16: where UDP does not pass, calls go through the relay over TCP, and where only port 443 is open, over TLS.
func TestFirewallsLeaveAWay(t *testing.T) {
	s := serve(t, nil)
	for _, w := range wallPairs {
		t.Run(w[0].name+" with "+w[1].name, func(t *testing.T) {
			t.Parallel() // pion waits for answers when it closes
			_, found := meet(t, ours(t, s, w[0].home(t), memberOptions{}), ours(t, s, w[1].home(t), memberOptions{}))
			record(t, firewalls, goOnly, w[0].name, w[1].name, found, found.Took)
			found.wantThrough(t, w)
		})
	}
}

// home is one behind the firewall.
func (w wall) home(t *testing.T) *lab.NAT {
	t.Helper()
	h := home(t, lab.PortRestricted)
	must(t, h.Block(w.rules))
	return h
}

// wantThrough holds that the path is relayed, each end by a transport that its firewall leaves open.
func (p path) wantThrough(t *testing.T, w [2]wall) {
	t.Helper()
	for i, l := range p.Legs {
		if !p.relayed() || l.Local == "relay" && !slices.Contains(w[i].by, l.Via) {
			t.Errorf("connected %s; want relayed, by %v and %v", p, w[0].by, w[1].by)
		}
	}
}
