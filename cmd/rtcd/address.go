package main

import (
	"context"
	"net/netip"
	"time"

	"rtcd/address"
	"rtcd/config"
	"rtcd/turnsrv/relay"
)

// external is one address that relayed traffic comes from, and why we say so.
type external struct {
	relay.RelayIP
	Source address.Source
	Why    string
}

// lookupFunc finds the addresses of a name; lookup asks the system's resolver.
type lookupFunc = address.LookupFunc

var lookup = address.Lookup

// wishOf is what the configuration says about the addresses of relayed traffic.
func wishOf(c *config.Loaded) address.Wish {
	d := c.Turn.Discovery
	w := address.Wish{Discover: d.Enabled, Metadata: d.Metadata, Every: time.Duration(d.Every)}
	for _, s := range d.STUN {
		w.STUN = append(w.STUN, string(s))
	}
	for _, r := range c.Turn.RelayIPs {
		public, local := r.Addrs()
		w.Relays = append(w.Relays, address.Pair{Local: local, Public: public})
	}
	for _, e := range c.Turn.ExternalIP {
		if addr, ok := e.Addr(); ok {
			w.Addrs = append(w.Addrs, addr)
		} else if name, ok := e.Name(); ok {
			w.Names = append(w.Names, name)
		} else {
			w.Auto = true
		}
	}
	return w
}

// externalsOf are the addresses of a decision.
func externalsOf(d address.Decision) []external {
	var out []external
	for _, a := range d.Addresses {
		out = append(out, external{relay.RelayIP{Local: a.Local, Public: a.Public}, a.Source, a.Why})
	}
	return out
}

// externals finds the addresses of relayed traffic once, for commands. Outside it asks
// only whom the configuration lets it ask.
func externals(ctx context.Context, c *config.Loaded) ([]external, error) {
	d := address.Find(ctx, wishOf(c), address.Options{})
	if d.Err != nil {
		return nil, d.Err
	}
	return externalsOf(d), nil
}

// urlAddrs are the externals that URLs name: none where they name the domain, so that
// minting a credential asks nobody for an address.
func urlAddrs(ctx context.Context, c *config.Loaded) ([]external, error) {
	if c.Domain != "" {
		return nil, nil
	}
	return externals(ctx, c)
}

// isPublic tells whether the whole internet could reach an address.
func isPublic(a netip.Addr) bool { return address.IsPublic(a) }
