package natlab

import (
	"bytes"
	"context"
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

// pair is two members in a call; the second has called.
type pair [2]*member

// meet has two members enter a room, call, and exchange data.
func meet(t *testing.T, first, second func(room string) *member) (pair, path) {
	t.Helper()
	ctx := patient(t)
	p := pair{first(t.Name())}
	p[1] = second(t.Name())
	begin := time.Now()
	must(t, p[1].call())
	for _, m := range p {
		must(t, m.connected(ctx))
	}
	took := time.Since(begin)
	must(t, p.exchange(ctx, 200_000))
	found := p.path(t)
	found.Took = took
	return p, found
}

// path is the pair's path at the moment.
func (p pair) path(t *testing.T) (found path) {
	t.Helper()
	for i, m := range p {
		must(t, eventually(patient(t), "a path is selected", func() (ok bool) {
			found.Legs[i], ok = m.leg()
			return ok
		}))
	}
	return found
}

// exchange sends random bytes both ways at once and compares what arrives.
func (p pair) exchange(ctx context.Context, size int) error {
	errs := make(chan error, 2*len(p))
	for i, m := range p {
		sent, other := noise(size), p[1-i]
		// Both end with what they do.
		go func() { errs <- m.say(ctx, sent) }()
		go func() {
			got, err := other.inbox.take(ctx, size)
			if err == nil && !bytes.Equal(got, sent) {
				err = fmt.Errorf("data arrived changed")
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
