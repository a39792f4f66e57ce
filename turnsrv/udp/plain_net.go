package udp

import (
	"context"
	"net"
	"net/netip"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// listenerBuffer is what a listener's socket asks of the kernel, in bytes.
const listenerBuffer = 4 << 20

// netConn is a Conn of the machine. On a wildcard address it asks for the address
// that each datagram was sent to, so that answers leave from there; where the
// system cannot tell, the kernel chooses.
type netConn struct {
	*net.UDPConn
	local netip.AddrPort
	zones bool // tell the zone of who sends
	info4 bool // ask for control messages of IPv4
	info6 bool
	oob   []byte // Read's; there is one reader
}

// bindNet binds a socket of the machine, for one family only.
func bindNet(addr netip.AddrPort, listener bool) (Conn, error) {
	network := "udp4"
	if addr.Addr().Is6() {
		network = "udp6"
	}
	var lc net.ListenConfig
	pc, err := lc.ListenPacket(context.Background(), network, addr.String())
	if err != nil {
		return nil, err
	}
	u := pc.(*net.UDPConn)
	local := u.LocalAddr().(*net.UDPAddr).AddrPort()
	c := &netConn{UDPConn: u, local: netip.AddrPortFrom(local.Addr().Unmap(), local.Port()), zones: listener}
	if listener {
		u.SetReadBuffer(listenerBuffer)
		u.SetWriteBuffer(listenerBuffer)
	}
	if addr.Addr().IsUnspecified() {
		if network == "udp4" {
			c.info4 = ipv4.NewPacketConn(u).SetControlMessage(ipv4.FlagDst, true) == nil
		} else {
			c.info6 = ipv6.NewPacketConn(u).SetControlMessage(ipv6.FlagDst, true) == nil
		}
		c.oob = make([]byte, 128)
	}
	return c, nil
}

func (c *netConn) Local() netip.AddrPort { return c.local }

func (c *netConn) Read(b []byte) (n int, from netip.AddrPort, to netip.Addr, err error) {
	if !c.info4 && !c.info6 {
		n, from, err = c.ReadFromUDPAddrPort(b)
		return n, c.sender(from), c.local.Addr(), err
	}
	n, nn, _, from, err := c.ReadMsgUDPAddrPort(b, c.oob)
	if err != nil {
		return 0, from, to, err
	}
	return n, c.sender(from), c.destination(c.oob[:nn]), nil
}

// destination finds the address that a datagram was sent to in its control
// messages.
func (c *netConn) destination(oob []byte) netip.Addr {
	var ip net.IP
	if c.info4 {
		var m ipv4.ControlMessage
		if m.Parse(oob) == nil {
			ip = m.Dst
		}
	} else {
		var m ipv6.ControlMessage
		if m.Parse(oob) == nil {
			ip = m.Dst
		}
	}
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}

func (c *netConn) Write(b []byte, to netip.AddrPort, from netip.Addr) error {
	var oob []byte
	switch {
	case !from.IsValid() || from.IsUnspecified():
	case c.info4:
		oob = (&ipv4.ControlMessage{Src: from.AsSlice()}).Marshal()
	case c.info6:
		oob = (&ipv6.ControlMessage{Src: from.AsSlice()}).Marshal()
	}
	if oob == nil {
		_, err := c.WriteToUDPAddrPort(b, to)
		return err
	}
	_, _, err := c.WriteMsgUDPAddrPort(b, oob, to)
	return err
}

func (c *netConn) sender(a netip.AddrPort) netip.AddrPort {
	ip := a.Addr().Unmap()
	if !c.zones {
		ip = ip.WithZone("")
	}
	return netip.AddrPortFrom(ip, a.Port())
}
