package natlab

import (
	"testing"
	"time"

	"rtcd/test/lab"
)

// recovery is how long it took until a pair was back after a change of the network.
type recovery struct{ signaling, media time.Duration }

// survive changes the network of the pair's first member and waits until it is back: the session resumed as the same
// peer, and data passing again both ways.
func (p pair) survive(t *testing.T, change func() error) (r recovery) {
	t.Helper()
	ctx := patient(t)
	mover := p[0]
	before, sockets := mover.welcome()
	begin := time.Now()
	must(t, change())
	must(t, eventually(ctx, "the session is resumed", func() bool {
		_, now := mover.welcome()
		return now > sockets
	}))
	r.signaling = time.Since(begin)
	must(t, p.exchange(ctx, 200_000))
	r.media = time.Since(begin)
	if now, _ := mover.welcome(); !now.Resumed || now.Peer != before.Peer {
		t.Errorf("the session of %s came back as %s, resumed: %v", before.Peer, now.Peer, now.Resumed)
	}
	return r
}

// wantNoGhost asks the hub who is in the room: the two and nobody else, neither of them away nor ever gone.
func (p pair) wantNoGhost(t *testing.T, s *server) {
	t.Helper()
	var ids []string
	for _, m := range p {
		me, _ := m.welcome()
		ids = append(ids, me.Peer)
	}
	observer := enter(t, s, home(t, lab.FullCone), p[0].room, "observer", memberOptions{})
	here := observer.others()
	if len(here) != 2 {
		t.Errorf("%d in the room, want 2: %v", len(here), here)
	}
	for _, o := range here {
		if o.Away || o.Peer != ids[0] && o.Peer != ids[1] {
			t.Errorf("in the room is %+v; want %v, not away", o, ids)
		}
	}
	for i, m := range p {
		if m.heard("leave", ids[1-i]) {
			t.Errorf("the hub told of a leave of %s", ids[1-i])
		}
	}
}

// F5: a client that moves to another network in mid-call keeps its session and its call.
func TestRoamingKeepsTheCall(t *testing.T) {
	s := serve(t, nil)
	alice, bob := home(t, lab.PortRestricted), home(t, lab.PortRestricted)
	p, found := meet(t, at(t, s, alice, "alice", memberOptions{}), at(t, s, bob, "bob", memberOptions{}))
	r := p.survive(t, alice.Roam)
	t.Logf("%s, then %s; signaling after %v, media after %v", found, p.path(t), r.signaling, r.media)
	p.wantNoGhost(t, s)
}
