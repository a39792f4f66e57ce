package probe

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/pion/stun/v3"
)

// Packets to the relayed address, from outside, are sent so often.
const (
	inboundTries = 10
	inboundEvery = 200 * time.Millisecond
)

var errRangeClosed = errors.New("no packet from here reaches the relayed address")

// inbound sends to a relayed address of its own as a peer on the network does: from a socket
// that speaks no TURN, to the relay's port. So a range of ports that a firewall closes shows;
// the echo, which stays within the server, does not need it. The detail begins with "not
// tested" where the server cannot be asked.
func (p *prober) inbound(ctx context.Context) (string, error) {
	peer, mapped, err := p.peer(ctx)
	if err != nil {
		return "not tested: " + err.Error(), nil
	}
	c, _, err := p.client(ctx)
	if err != nil {
		return "", err
	}
	conn, err := allocate(ctx, c)
	var refusal *stun.TurnError
	if errors.As(err, &refusal) { // a quota, most likely: those of the echo may not have ended yet
		return fmt.Sprintf("not tested: the server refuses one more allocation (error %d)", refusal.ErrorCodeAttr.Code), nil
	}
	if err != nil {
		return "", err
	}
	defer conn.Close()
	at, err := netip.ParseAddrPort(conn.LocalAddr().String())
	switch {
	case err != nil:
		return "", err
	case at.Addr() == mapped.Addr():
		return "not tested: this machine has the relay's address", nil
	case at.Addr().Is4() != mapped.Addr().Is4():
		return fmt.Sprintf("not tested: %v is of another family than the relayed address", mapped.Addr()), nil
	}
	if err := permit(ctx, c, net.UDPAddrFromAddrPort(mapped)); err != nil {
		if errors.As(err, &refusal) {
			return fmt.Sprintf("not tested: the server refuses %v as a peer (error %d)", mapped.Addr(), refusal.ErrorCodeAttr.Code), nil
		}
		return "", err
	}
	if err := knock(ctx, peer, conn); err != nil {
		return "", err
	}
	return fmt.Sprintf("packets from %v reach %v", mapped.Addr(), conn.LocalAddr()), nil
}

// peer is a socket, and its address as the server sees it (RFC 8489 §7).
func (p *prober) peer(ctx context.Context) (net.PacketConn, netip.AddrPort, error) {
	server, err := netip.ParseAddrPort(p.report.Server)
	if err != nil {
		return nil, netip.AddrPort{}, err
	}
	network := "udp4"
	if server.Addr().Is6() {
		network = "udp6"
	}
	conn, err := net.ListenPacket(network, ":0")
	if err != nil {
		return nil, netip.AddrPort{}, err
	}
	c, err := p.over(conn, server)
	if err != nil {
		return nil, netip.AddrPort{}, err
	}
	mapped, err := within(ctx, c, func() (net.Addr, error) { return c.SendBindingRequest() })
	if err != nil {
		return nil, netip.AddrPort{}, err
	}
	addr, err := netip.ParseAddrPort(mapped.String())
	return conn, netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port()), err
}

// knock sends from the peer to the relayed address until something arrives there.
func knock(ctx context.Context, peer, relay net.PacketConn) error {
	word := "rtcd inbound " + rand.Text()
	arrived := make(chan struct{})
	var reader sync.WaitGroup
	reader.Go(func() { // the end of relay ends it
		for buf := make([]byte, 1500); ; {
			n, _, err := relay.ReadFrom(buf)
			if err != nil {
				return
			}
			if string(buf[:n]) == word {
				close(arrived)
				return
			}
		}
	})
	defer reader.Wait()
	defer relay.Close()
	for range inboundTries {
		if _, err := peer.WriteTo([]byte(word), relay.LocalAddr()); err != nil {
			return err
		}
		select {
		case <-arrived:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(inboundEvery):
		}
	}
	return errRangeClosed
}
