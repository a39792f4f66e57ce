package natlab

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/pion/transport/v4"
	"github.com/pion/transport/v4/stdnet"

	"rtcd/test/lab"
)

// network has pion open its sockets in a home. Only what ICE and TURN clients use is led there.
type network struct {
	*stdnet.Net
	node *lab.Node
	ctx  context.Context // ends connecting
}

// listen opens a UDP socket; an address without an IP is any of the home's.
func (n network) listen(family, address string) (conn *net.UDPConn, err error) {
	return conn, n.node.Do(func() error {
		packets, err := (&net.ListenConfig{}).ListenPacket(n.ctx, family, address)
		if err == nil {
			conn = packets.(*net.UDPConn)
		}
		return err
	})
}

func (n network) ListenPacket(family, address string) (net.PacketConn, error) {
	return n.listen(family, address)
}

func (n network) ListenUDP(family string, at *net.UDPAddr) (transport.UDPConn, error) {
	return n.listen(family, at.String())
}

func (n network) Dial(family, address string) (net.Conn, error) {
	at, err := n.resolve(address)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(n.ctx, 20*time.Second)
	defer cancel()
	return n.node.Dial(ctx, family, at.String())
}

func (n network) DialTCP(family string, _, to *net.TCPAddr) (transport.TCPConn, error) {
	conn, err := n.Dial(family, to.String())
	if err != nil {
		return nil, err
	}
	return conn.(*net.TCPConn), nil
}

func (n network) ResolveUDPAddr(_, address string) (*net.UDPAddr, error) {
	at, err := n.resolve(address)
	return net.UDPAddrFromAddrPort(at), err
}

func (n network) ResolveTCPAddr(_, address string) (*net.TCPAddr, error) {
	at, err := n.resolve(address)
	return net.TCPAddrFromAddrPort(at), err
}

// Interfaces is what the home's client has at the moment.
func (n network) Interfaces() (list []*transport.Interface, err error) {
	return list, n.node.Do(func() error {
		now, err := stdnet.NewNet()
		if err == nil {
			list, err = now.Interfaces()
		}
		return err
	})
}

// resolve knows the names of the lab.
func (n network) resolve(address string) (netip.AddrPort, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return netip.AddrPort{}, err
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return netip.AddrPort{}, err
	}
	if addr, ok := world.hosts[host]; ok {
		return netip.AddrPortFrom(addr, uint16(number)), nil
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("the lab has no host %q", host)
	}
	return netip.AddrPortFrom(addr, uint16(number)), nil
}
