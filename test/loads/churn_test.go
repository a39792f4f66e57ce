package loads

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"rtcd/test/turnclient"
)

// churn is so many allocations at a time, each of which goes after a random time and makes place for another: four of
// five over UDP and released, the fifth over TCP and cut off. Each relays to a peer and back when it comes and when it goes.
type churn struct {
	server  *server
	places  int
	longest time.Duration // that one lives
	peer    netip.AddrPort

	gone, streams, sent, echoed atomic.Int64
}

func newChurn(t *testing.T, s *server, places int, longest time.Duration) *churn {
	t.Helper()
	return &churn{server: s, places: places, longest: longest, peer: echo(t, world.peers)}
}

// run keeps all places busy until ctx is done, and returns when all allocations are given back.
func (c *churn) run(ctx context.Context) error {
	errs := make([]error, c.places)
	var places sync.WaitGroup
	for i := range errs {
		// run owns it; ctx ends it.
		places.Go(func() {
			c.pause(ctx, rand.N(c.longest/4)) // they do not all come at once
			for n := 0; ctx.Err() == nil && errs[i] == nil; n++ {
				errs[i] = c.live(ctx, fmt.Sprintf("churn%d", i), (i+n)%5 == 0)
			}
		})
	}
	places.Wait()
	return errors.Join(errs...)
}

// live is one allocation, from the first request to its end.
func (c *churn) live(ctx context.Context, user string, stream bool) (err error) {
	network := "udp"
	if stream {
		network = "tcp"
	}
	client, err := c.server.dial(world.clients, network, user)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Conn.Close()) }()
	if err := errors.Join(client.Allocate(), client.Bind(channel, c.peer), c.relay(client)); err != nil {
		return fmt.Errorf("%s over %s: %w", user, network, err)
	}
	c.pause(ctx, c.longest/4+rand.N(c.longest*3/4))
	if ctx.Err() != nil {
		time.Sleep(rand.N(time.Second)) // nor do they all go at once, for the peer has one socket
	}
	if err := c.relay(client); err != nil {
		return fmt.Errorf("%s over %s, at its end: %w", user, network, err)
	}
	c.gone.Add(1)
	if stream {
		c.streams.Add(1)
		return nil // the end of the connection is the end of the allocation
	}
	return client.Refresh(0)
}

// relay sends a packet to the peer, again and again, until it is echoed.
func (c *churn) relay(client *turnclient.Client) error {
	const tries = 20
	for range tries {
		c.sent.Add(1)
		if _, err := client.Conn.Write([]byte("\x40\x00\x00\x04here")); err != nil {
			return err
		}
		if err := client.Conn.SetReadDeadline(time.Now().Add(2 * time.Second)); err != nil {
			return err
		}
		_, err := client.Read()
		if err == nil {
			c.echoed.Add(1)
			return nil
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
	}
	return errors.New("no echo")
}

func (c *churn) pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
