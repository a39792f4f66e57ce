package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"rtcd/address"
	"rtcd/config"
	"rtcd/portmap"
	"rtcd/probe"
)

func (d *doctor) examineAddresses(ctx context.Context) {
	found := address.Find(ctx, wishOf(d.config), address.Options{}, d.examineRouter(ctx)...)
	if found.Err != nil {
		d.row(fail, "address", found.Err.Error(), "set turn.external_ip to the public address")
		return
	}
	addrs := externalsOf(found)
	d.externals = addrs
	if len(addrs) == 0 {
		d.row(fail, "address", "none is known for relayed traffic", "set turn.external_ip")
	}
	for _, a := range addrs {
		detail := fmt.Sprintf("%s (%s)", a.Public, a.Why)
		switch {
		case isPublic(a.Public):
			d.row(ok, "address", detail, "")
		case address.IsShared(a.Public) && a.Why == address.DefaultRoute:
			d.row(fail, "address", detail+" is behind the provider's NAT (100.64.0.0/10): nobody outside can reach a relay here",
				"run rtcd on a server with a public address (any small VPS will do)")
		case address.IsShared(a.Public):
			d.row(warn, "address", detail+" is of 100.64.0.0/10, a provider's NAT or a private network like Tailscale's: only who is in it reaches the relay",
				"for calls from outside set turn.external_ip to a public address")
		default:
			d.row(warn, "address", detail+" is only reachable inside this network",
				"for calls from outside set turn.external_ip to the public address, or turn.discovery.enabled: true to find it, and forward the ports")
		}
	}
	for _, n := range found.Notes {
		d.row(warn, "address", n, "set turn.external_ip to the public address")
	}
	d.examineDomain(ctx)
}

// examineRouter asks the router that is to forward our ports, if any, for its own
// address.
func (d *doctor) examineRouter(ctx context.Context) []address.Claim {
	if d.config.Turn.PortMapping != config.PortMappingAuto {
		return nil
	}
	const remedy = "switch on NAT-PMP or UPnP in the router, or forward the ports by hand (rtcd ports) and set turn.port_mapping: off"
	router, err := portmap.Find(ctx)
	if err != nil {
		d.row(warn, "router", "none forwards our ports: "+err.Error(), remedy)
		return nil
	}
	external, err := router.External(ctx)
	if err != nil {
		d.row(warn, "router", fmt.Sprintf("%s: %s", router.Name(), err), remedy)
		return nil
	}
	d.row(ok, "router", fmt.Sprintf("%s has %s", router.Name(), external), "")
	return []address.Claim{{Source: address.Gateway, By: router.Name(), Addr: external}}
}

// examineDomain compares what the domain resolves to with the addresses.
func (d *doctor) examineDomain(ctx context.Context) {
	if addr, err := netip.ParseAddr(d.config.Domain); err == nil {
		if !slices.ContainsFunc(d.externals, func(e external) bool { return e.Public == addr }) {
			d.row(warn, "domain", fmt.Sprintf("%s is none of our addresses", addr), fmt.Sprintf("turn.external_ip: %s, or another domain", addr))
		}
		return
	} else if d.config.Domain == "" {
		return
	}
	found, err := lookup(ctx, d.config.Domain)
	if err != nil {
		d.row(fail, "domain", fmt.Sprintf("%s does not resolve", d.config.Domain), "publish an A or AAAA record for it")
		return
	}
	d.resolved = found
	for _, f := range found {
		if !slices.ContainsFunc(d.externals, func(e external) bool { return e.Public == f }) {
			d.row(warn, "domain", fmt.Sprintf("%s resolves to %s, which is none of our addresses", d.config.Domain, f),
				d.dnsRemedy())
			continue
		}
		d.row(ok, "domain", fmt.Sprintf("%s resolves to %s", d.config.Domain, f), "")
	}
}

// dnsRemedy is what DNS should say, as far as it is known here.
func (d *doctor) dnsRemedy() string {
	var want []string
	for _, e := range d.externals {
		if isPublic(e.Public) {
			want = append(want, e.Public.String())
		}
	}
	if len(want) == 0 {
		return "set turn.external_ip to the address that the world sees"
	}
	return fmt.Sprintf("let the DNS record say %s (rtcd ports --dns), or set turn.external_ip to the address that the world sees", sentence(want))
}

// examineIPv6 tells whether clients with IPv6 alone can come, and get relayed addresses
// of their family.
func (d *doctor) examineIPv6() {
	own, why := address.Own(false)
	relayed := slices.ContainsFunc(d.externals, func(e external) bool { return e.Public.Is6() })
	published := slices.ContainsFunc(d.resolved, netip.Addr.Is6)
	switch {
	case !own.IsValid() && published:
		d.row(fail, "ipv6", d.config.Domain+" has an AAAA record, but this machine has no IPv6 address",
			"remove the AAAA record, or give the machine its address: clients try IPv6 first and wait")
	case !own.IsValid():
		d.row(ok, "ipv6", "none on this machine, and none is announced", "")
	case !relayed:
		d.row(warn, "ipv6", fmt.Sprintf("%s (%s) is here, but no relayed address of this family is offered", own, why),
			fmt.Sprintf("add it to turn.external_ip: [%s]", strings.Join(append(d.configured(), own.String()), ", ")))
	case d.config.Domain != "" && len(d.resolved) > 0 && !published:
		d.row(warn, "ipv6", fmt.Sprintf("%s is here, but %s has no AAAA record", own, d.config.Domain),
			fmt.Sprintf("publish it: %s. AAAA %s", d.config.Domain, own))
	default:
		d.row(ok, "ipv6", fmt.Sprintf("%s (%s)", own, why), "")
	}
}

// configured is turn.external_ip as it is written.
func (d *doctor) configured() (out []string) {
	for _, e := range d.config.Turn.ExternalIP {
		out = append(out, string(e))
	}
	return out
}

// examineHairpin tells whether the way back from the public address works from inside.
// The relay itself does not need it, but clients in this network do.
func (d *doctor) examineHairpin(ctx context.Context) {
	e := configuredEndpoints(d.config)
	if len(e.turn) == 0 {
		return
	}
	for _, a := range d.externals {
		if a.Public == a.Local {
			continue
		}
		u := "stun:" + net.JoinHostPort(a.Public.String(), strconv.Itoa(int(e.turn[0])))
		target, err := probe.ParseURL(u)
		if err != nil {
			continue
		}
		if probe.Run(ctx, target, probe.Options{Timeout: 2 * time.Second}).OK {
			d.row(ok, "hairpin", fmt.Sprintf("%s leads back from inside this network", a.Public), "")
			continue
		}
		d.row(warn, "hairpin", fmt.Sprintf("%s does not lead back from inside this network: clients here cannot use it (those outside can)", a.Public),
			fmt.Sprintf("switch on NAT loopback in the router, or let the DNS of this network say %s for the domain", a.Local))
	}
}
