package address

import (
	"net"
	"net/netip"
	"slices"
)

// DefaultRoute is why an address is told that the default route has.
const DefaultRoute = "default route"

// Own is this machine's own address of a family (IPv4 or IPv6) that is told where
// nothing better is known, and why it is that one; it sends nothing.
func Own(is4 bool) (netip.Addr, string) { return look(nil).own(is4) }

// own is the machine's best address of a family: a public one, the default route's
// before another interface's; else any that others in the same network reach; loopback
// only for IPv4 and only if there is nothing else.
func (m Machine) own(is4 bool) (netip.Addr, string) {
	for _, good := range []func(netip.Addr) bool{IsPublic, IsUsable} {
		if a := firstOf(m.Routes, is4, good); a.IsValid() {
			return a, DefaultRoute
		}
		if a := firstOf(m.Addrs, is4, good); a.IsValid() {
			return a, "an interface"
		}
	}
	if loopback := netip.AddrFrom4([4]byte{127, 0, 0, 1}); is4 && slices.Contains(m.Addrs, loopback) {
		return loopback, "loopback: this machine has no other address"
	}
	return netip.Addr{}, ""
}

func firstOf(list []netip.Addr, is4 bool, good func(netip.Addr) bool) netip.Addr {
	for _, a := range list {
		if a.Is4() == is4 && good(a) {
			return a
		}
	}
	return netip.Addr{}
}

// localFor is what to bind for a public address: itself if this machine has it, else
// what NAT leads to.
func (m Machine) localFor(public netip.Addr) netip.Addr {
	if slices.Contains(m.Addrs, public) || public.IsLoopback() {
		return public
	}
	for _, list := range [][]netip.Addr{m.Routes, m.Addrs} {
		if a := firstOf(list, public.Is4(), IsUsable); a.IsValid() {
			return a
		}
	}
	local, _ := m.own(public.Is4())
	return local
}

// differs reports whether what others were told to find may have changed.
func (m Machine) differs(o Machine) bool {
	for _, is4 := range []bool{true, false} {
		mine, _ := m.own(is4)
		theirs, _ := o.own(is4)
		if mine != theirs {
			return true
		}
	}
	return false
}

// A UDP socket that is connected to one of these sends nothing, but shows which
// address the default route has. They are root name servers.
var farAway = []string{"193.0.14.129:53", "[2001:7fd::1]:53"}

// look reads the machine's addresses. It sends nothing.
func look(relays []Pair) (m Machine) {
	for _, far := range farAway {
		conn, err := net.Dial("udp", far)
		if err != nil {
			continue
		}
		if a := conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap().WithZone(""); IsUsable(a) {
			m.Routes = append(m.Routes, a)
		}
		conn.Close()
	}
	list, err := net.InterfaceAddrs()
	if err != nil {
		list = nil
	}
	for _, a := range list {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			m.Addrs = append(m.Addrs, p.Addr().Unmap().WithZone(""))
		}
	}
	for _, r := range relays {
		if slices.Contains(m.Addrs, r.Local) || canBind(r.Local) {
			m.Bound = append(m.Bound, r.Local)
		}
	}
	return m
}

// canBind tells of an address that is on no interface whether it is this machine's all
// the same: a local route of a whole prefix leads to it.
func canBind(a netip.Addr) bool {
	conn, err := net.ListenPacket("udp", netip.AddrPortFrom(a, 0).String())
	if err != nil {
		return false
	}
	conn.Close()
	return true
}
