package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"rtcd/config"
	"rtcd/turnsrv/relay"
)

// external is one address that relayed traffic comes from, and why we say so.
type external struct {
	relay.RelayIP
	Why string
}

// A UDP socket that is connected to one of these sends nothing, but shows which
// address the default route has. They are root name servers.
var farAway = map[string]string{"udp4": "193.0.14.129:53", "udp6": "[2001:7fd::1]:53"}

// externals resolves turn.external_ip: at most one address of each family. Nobody
// outside is asked, but for a dns: name that the configuration gives.
func externals(ctx context.Context, list []config.ExternalIP) ([]external, error) {
	out, err := resolveExternals(ctx, list, lookup)
	if err != nil {
		return nil, err
	}
	return out, nil
}

// lookupFunc finds the addresses of a name.
type lookupFunc func(ctx context.Context, name string) ([]netip.Addr, error)

// errLookup is that a dns: name could not be looked up: later it may be.
var errLookup = errors.New("turn.external_ip")

// resolveExternals is externals; when a name cannot be looked up it returns errLookup
// and what it knows without it.
func resolveExternals(ctx context.Context, list []config.ExternalIP, lookup lookupFunc) (out []external, failed error) {
	have := func(is4 bool) bool {
		for _, e := range out {
			if e.Public.Is4() == is4 {
				return true
			}
		}
		return false
	}
	add := func(public netip.Addr, why string) error {
		local := localFor(public)
		if !local.IsValid() {
			return fmt.Errorf("turn.external_ip: %s: this machine has no address of its family", public)
		}
		if local != public {
			why += fmt.Sprintf(", NATed to %s", local)
		}
		out = append(out, external{relay.RelayIP{Local: local, Public: public}, why})
		return nil
	}
	for _, e := range list { // what is written wins over what is found
		if addr, ok := e.Addr(); ok {
			if err := add(addr, "turn.external_ip"); err != nil {
				return nil, err
			}
		}
	}
	for _, e := range list {
		if name, ok := e.Name(); ok {
			addrs, err := lookup(ctx, name)
			if err != nil {
				failed = fmt.Errorf("%w: %w", errLookup, err)
				continue
			}
			for _, a := range addrs {
				if !have(a.Is4()) {
					if err := add(a, "dns:"+name); err != nil && len(addrs) == 1 {
						return nil, err
					}
				}
			}
		} else if e == config.ExternalAuto {
			for _, network := range []string{"udp4", "udp6"} {
				if local, why := ownAddr(network); local.IsValid() && !have(network == "udp4") {
					out = append(out, external{relay.RelayIP{Local: local, Public: local}, why})
				}
			}
		}
	}
	return out, failed
}

// lookup asks the system's resolver.
func lookup(ctx context.Context, name string) ([]netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", name)
	for i := range addrs {
		addrs[i] = addrs[i].Unmap()
	}
	return addrs, err
}

// routeWhy says of an address that it is the default route's.
const routeWhy = "default route"

// ownAddr is the address of the default route of a family, else of an interface;
// loopback only for IPv4 and only if there is nothing else.
func ownAddr(network string) (netip.Addr, string) {
	if conn, err := net.Dial(network, farAway[network]); err == nil {
		defer conn.Close()
		addr := conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
		if usable(addr) {
			return addr, routeWhy
		}
	}
	loopback := netip.Addr{}
	for _, a := range interfaceAddrs() {
		switch {
		case a.Is4() != (network == "udp4"):
		case usable(a):
			return a, "an interface"
		case a == netip.AddrFrom4([4]byte{127, 0, 0, 1}):
			loopback = a
		}
	}
	return loopback, "loopback: this machine has no other address"
}

// usable tells whether others could reach an address of ours.
func usable(a netip.Addr) bool {
	return a.IsGlobalUnicast() && !a.Is4In6()
}

// isPublic tells whether the whole internet could.
func isPublic(a netip.Addr) bool {
	return usable(a) && !a.IsPrivate() && !sharedSpace.Contains(a)
}

// sharedSpace is behind the NAT of a provider (RFC 6598).
var sharedSpace = netip.MustParsePrefix("100.64.0.0/10")

// localFor is what to bind for a public address: itself if this machine has it,
// else what NAT leads to.
func localFor(public netip.Addr) netip.Addr {
	for _, a := range interfaceAddrs() {
		if a == public {
			return a
		}
	}
	if public.IsLoopback() {
		return public
	}
	network := "udp4"
	if public.Is6() {
		network = "udp6"
	}
	local, _ := ownAddr(network)
	return local
}

func interfaceAddrs() []netip.Addr {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var out []netip.Addr
	for _, a := range list {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			out = append(out, p.Addr().Unmap().WithZone(""))
		}
	}
	return out
}
