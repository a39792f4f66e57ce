package main

import (
	"context"
	"net/netip"
	"slices"

	"rtcd/address"
	"rtcd/config"
	"rtcd/portmap"
	"rtcd/turnsrv/relay"
)

// runMapper has the router forward our ports, where turn.port_mapping lets it.
func (a *app) runMapper(ctx context.Context) error { return a.mapper.Run(ctx, a.routerChanged) }

// routerChanged tells the finder the router's own address.
func (a *app) routerChanged() {
	var claims []address.Claim
	if s := a.mapper.Status(); s.External.IsValid() {
		claims = append(claims, address.Claim{Source: address.Gateway, By: s.Router, Addr: s.External})
	}
	a.finder.Router(claims)
}

// mappedPorts are those that the router is to forward: of every listener that others
// reach over IPv4, and of the relay. None where turn.port_mapping is off.
func (a *app) mappedPorts() (out []portmap.Port) {
	if a.config.Turn.PortMapping != config.PortMappingAuto {
		return nil
	}
	add := func(protocol string, list []netip.AddrPort) {
		for _, at := range list {
			p := portmap.Port{Protocol: protocol, Number: at.Port()}
			reached := at.Addr().Unmap().Is4() || at.Addr().IsUnspecified()
			if reached && !at.Addr().IsLoopback() && !slices.Contains(out, p) {
				out = append(out, p)
			}
		}
	}
	add("udp", slices.Concat(a.turn.Addrs(relay.UDP), a.turn.Addrs(relay.DTLS)))
	add("tcp", slices.Concat(a.turn.Addrs(relay.TCP), a.turn.Addrs(relay.TLS), a.https.addrs(), a.http.addrs()))
	r := a.config.Turn.RelayPorts
	for n := int(r.Min); n <= int(r.Max); n++ {
		out = append(out, portmap.Port{Protocol: "udp", Number: uint16(n)})
	}
	return out
}

// adminMapping is what the router forwards.
type adminMapping struct {
	Router   string     `json:"router,omitempty"`
	External netip.Addr `json:"external,omitzero"`
	Mapped   []string   `json:"mapped"`
	Refused  []string   `json:"refused"`
	Problem  string     `json:"problem,omitempty"` // why there is no router
}

// mapping is that; nil where turn.port_mapping is off. The caller holds mu.
func (a *app) mapping() *adminMapping {
	if a.config.Turn.PortMapping != config.PortMappingAuto {
		return nil
	}
	s := a.mapper.Status()
	m := &adminMapping{Router: s.Router, External: s.External, Mapped: []string{}, Refused: append([]string{}, s.Refused...), Problem: s.Problem}
	for _, p := range s.Mapped {
		m.Mapped = append(m.Mapped, p.String())
	}
	return m
}
