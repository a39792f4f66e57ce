package loads

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"rtcd/test/lab"
	"rtcd/test/turnclient"
)

// dial connects one client, over "udp" or "tcp".
func (s *server) dial(from *lab.Node, network, user string) (*turnclient.Client, error) {
	conn, err := from.Dial(context.Background(), network, s.turn().String())
	if err != nil {
		return nil, err
	}
	return turnclient.New(conn, user, secret), nil
}

// mustDial is dial until the end of the test.
func (s *server) mustDial(t *testing.T, network, user string) *turnclient.Client {
	t.Helper()
	c, err := s.dial(world.clients, network, user)
	must(t, err)
	t.Cleanup(func() { _ = c.Conn.Close() })
	return c
}

// allocate makes so many allocations over UDP, which last until they are released or the test ends.
func (s *server) allocate(t *testing.T, count int) []*turnclient.Client {
	t.Helper()
	list := make([]*turnclient.Client, count)
	for i := range list {
		list[i] = s.mustDial(t, "udp", fmt.Sprintf("user%d", i))
	}
	must(t, each(list, func(_ int, c *turnclient.Client) error { return c.Allocate() }))
	return list
}

// release ends their allocations.
func release(t *testing.T, list []*turnclient.Client) {
	t.Helper()
	must(t, each(list, func(_ int, c *turnclient.Client) error { return c.Refresh(0) }))
}

// refused tells whether the server refused by this code.
func refused(err error, code int) bool {
	r, ok := errors.AsType[*turnclient.Refused](err)
	return ok && r.Code == code
}

// echo is a peer in a node that sends back what it gets, until the end of the test.
func echo(t *testing.T, at *lab.Node) netip.AddrPort {
	t.Helper()
	conn, err := at.ListenPacket(t.Context(), netip.AddrPortFrom(at.IP4, 0).String())
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	// The test owns it; closing the socket ends it.
	go func() {
		buf := make([]byte, 2048)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = conn.WriteTo(buf[:n], from) // what gets lost, the client misses
		}
	}()
	return netip.MustParseAddrPort(conn.LocalAddr().String())
}
