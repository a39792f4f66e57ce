package natlab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// path is how two clients are connected.
type path struct {
	Legs [2]leg
	Took time.Duration // until the data channel was open at both ends
}

func (p path) relayed() bool {
	return p.Legs[0].Local == "relay" || p.Legs[1].Local == "relay"
}

// String tells how each end takes part: by which transport it uses its relayed address, else how the other end sees it.
func (p path) String() string {
	kind := "direct"
	if p.relayed() {
		kind = "relayed"
	}
	return fmt.Sprintf("%s, %s – %s", kind, p.end(0), p.end(1))
}

func (p path) end(i int) string {
	if p.Legs[i].Local == "relay" {
		return "relay/" + p.Legs[i].Via
	}
	return p.Legs[1-i].Remote
}

// by says whether the path is relayed and every end that relays does it by one of the transports.
func (p path) by(transports ...string) bool {
	for _, l := range p.Legs {
		if l.Local == "relay" && !slices.Contains(transports, l.Via) {
			return false
		}
	}
	return p.relayed()
}

// client is one end of a call, in a room since it was made: a member or a browser's page.
type client interface {
	// call begins with the client that was there before, unless this one has begun by itself.
	call(peer string) error
	// connected waits until the data channel is open.
	connected(ctx context.Context) error
	// say sends bytes over the data channel, take waits for so many.
	say(ctx context.Context, data []byte) error
	take(ctx context.Context, n int) ([]byte, error)
	// leg waits for a selected path and tells this end of it.
	leg(ctx context.Context) (leg, error)
	// session tells the own peer id on the hub, and how often a socket was welcomed, as the same peer, all along.
	session(ctx context.Context) (peer string, sockets int, err error)
	// heard says whether the hub has told of an event about another peer.
	heard(ctx context.Context, event, peer string) (bool, error)
}

// pair is two clients in a call; the second has come later.
type pair [2]client

// enterer makes a client in a room.
type enterer func(room, name string) client

// load is how many bytes a pair exchanges each way where the line is good. A bad one carries a tenth of it: at 20 %
// loss what SCTP does is mostly waiting.
const load = 200_000

// meet has two clients enter a room, call, and exchange data.
func meet(t *testing.T, first, second enterer) (pair, path) {
	t.Helper()
	return meetWith(t, first, second, load)
}

func meetWith(t *testing.T, first, second enterer, load int) (pair, path) {
	t.Helper()
	ctx := patient(t)
	p := pair{first(t.Name(), "alice"), nil}
	p[1] = second(t.Name(), "bob")
	callee, _, err := p[0].session(ctx)
	must(t, err)
	begin := time.Now()
	must(t, p[1].call(callee))
	for _, c := range p {
		must(t, c.connected(ctx))
	}
	took := time.Since(begin)
	must(t, p.exchange(ctx, load))
	found := p.path(t)
	found.Took = took
	return p, found
}

// path is the pair's path at the moment.
func (p pair) path(t *testing.T) (found path) {
	t.Helper()
	for i, c := range p {
		var err error
		found.Legs[i], err = c.leg(patient(t))
		must(t, err)
	}
	return found
}

// exchange sends random bytes both ways at once and compares what arrives.
func (p pair) exchange(ctx context.Context, size int) error {
	errs := make(chan error, 2*len(p))
	for i, c := range p {
		sent, other := noise(size), p[1-i]
		// Both end with what they do.
		go func() { errs <- c.say(ctx, sent) }()
		go func() {
			got, err := other.take(ctx, size)
			if err == nil && !bytes.Equal(got, sent) {
				err = errors.New("data arrived changed")
			}
			errs <- err
		}()
	}
	for range cap(errs) {
		if err := <-errs; err != nil {
			return err
		}
	}
	return nil
}

func noise(size int) []byte {
	b := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{byte(rand.Uint32())}).Read(b) // never fails
	return b
}
