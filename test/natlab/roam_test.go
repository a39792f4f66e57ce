package natlab

import (
	"testing"
	"time"

	"rtcd/test/lab"
)

// recovery is how long it took until a pair was back after a change of the network.
type recovery struct{ signaling, media time.Duration }

// survive changes the network of one of the pair and waits until it is back: the session resumed as the same peer
// (unless its socket is kept), and data passing again both ways.
func (p pair) survive(t *testing.T, mover client, kept bool, change func() error) (r recovery) {
	t.Helper()
	ctx := patient(t)
	before, sockets, err := mover.session(ctx)
	must(t, err)
	begin := time.Now()
	must(t, change())
	var peer string
	must(t, eventually(ctx, "the session is resumed", func() bool {
		var now int
		peer, now, err = mover.session(ctx)
		return err != nil || kept || now > sockets
	}))
	r.signaling = time.Since(begin)
	if err != nil || peer != before {
		t.Errorf("the session of %s came back as %s: %v", before, peer, err)
	}
	must(t, p.exchange(ctx, load))
	r.media = time.Since(begin)
	return r
}

// wantNoGhost asks the hub who is in the room: the two and nobody else, neither of them away nor ever gone.
func (p pair) wantNoGhost(t *testing.T, s *server) {
	t.Helper()
	ctx := patient(t)
	var ids []string
	for _, c := range p {
		id, _, err := c.session(ctx)
		must(t, err)
		ids = append(ids, id)
	}
	observer := enter(t, s, home(t, lab.FullCone), t.Name(), "observer", memberOptions{})
	here := observer.others()
	if len(here) != 2 {
		t.Errorf("%d in the room, want 2: %v", len(here), here)
	}
	for _, o := range here {
		if o.Away || o.Peer != ids[0] && o.Peer != ids[1] {
			t.Errorf("in the room is %+v; want %v, not away", o, ids)
		}
	}
	for i, c := range p {
		gone, err := c.heard(ctx, "leave", ids[1-i])
		if must(t, err); gone {
			t.Errorf("the hub told of a leave of %s", ids[1-i])
		}
	}
}

// F5: a client that moves to another network in mid-call keeps its session and its call.
func TestMovingKeepsTheCall(t *testing.T) {
	cases := []struct {
		name   string
		kind   lab.NATKind // symmetric ones are relayed
		mover  int         // the caller is 1
		change func(*lab.NAT) error
		kept   bool // a router that has forgotten a TCP connection takes it up again, if it can keep the port
	}{
		{"to another network", lab.PortRestricted, 0, (*lab.NAT).Roam, false},
		{"to another network, the caller", lab.PortRestricted, 1, (*lab.NAT).Roam, false},
		{"to another network, relayed", lab.Symmetric, 0, (*lab.NAT).Roam, false},
		{"another public address", lab.PortRestricted, 0, (*lab.NAT).Readdress, false},
		{"another public address, relayed", lab.Symmetric, 0, (*lab.NAT).Readdress, false},
		{"mappings forgotten", lab.PortRestricted, 0, (*lab.NAT).Rebind, true},
		{"mappings forgotten, relayed", lab.Symmetric, 0, (*lab.NAT).Rebind, false},
	}
	if !long() {
		cases = cases[:1]
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := serve(t, nil)
			homes := []*lab.NAT{home(t, c.kind), home(t, c.kind)}
			p, found := meet(t, ours(t, s, homes[0], memberOptions{}), ours(t, s, homes[1], memberOptions{}))
			r := p.survive(t, p[c.mover], c.kept, func() error { return c.change(homes[c.mover]) })
			record(t, moves, goOnly, c.name, found, p.path(t), r.signaling, r.media)
			p.wantNoGhost(t, s)
		})
	}
}
