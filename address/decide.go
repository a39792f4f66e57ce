package address

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Wish is what the configuration says.
type Wish struct {
	Relays []Pair       // addresses to spread allocations over; they decide about their family
	Addrs  []netip.Addr // written; at most one of a family is used
	Names  []string     // to be looked up
	Auto   bool         // whatever is found, for families that the former leave open

	// Whom Auto may ask where this machine has no public address.
	Discover bool
	Metadata bool
	STUN     []string      // HOST:PORT; two have to agree
	Every    time.Duration // how often they are asked again
}

// Pair is an address of this machine and what the world sees of it.
type Pair struct{ Local, Public netip.Addr }

// Facts is what is known.
type Facts struct {
	Machine Machine
	Names   map[string]Named // by name
	Claims  []Claim          // of others, each server's latest
	Asked   bool             // others have been asked at least once
	Silent  []string         // who of them could not tell in the last round, and why
}

// Machine is this machine.
type Machine struct {
	Addrs  []netip.Addr // of its interfaces, unmapped
	Routes []netip.Addr // from which it would send to the internet, at most one of a family
	Bound  []netip.Addr // those of the wish's Relays that can be bound
}

// Named is what a name led to.
type Named struct {
	Addrs []netip.Addr // when it last could be looked up
	Err   error        // of the last look
}

// Claim is what somebody says our public address is.
type Claim struct {
	Source Source
	By     string // "AWS", "stun.example.com:3478", "NAT-PMP at 192.168.1.1"
	Addr   netip.Addr
}

// Decision is what Decide makes of it.
type Decision struct {
	Addresses []Address // IPv4 first
	Err       error     // why that is not all that was wished for
	Asking    bool      // others will be asked, and may change it
	Notes     []string  // what an operator should know
}

// Equal reports whether two decisions are the same.
func (d Decision) Equal(o Decision) bool {
	return slices.Equal(d.Addresses, o.Addresses) && fmt.Sprint(d.Err) == fmt.Sprint(o.Err) &&
		d.Asking == o.Asking && slices.Equal(d.Notes, o.Notes)
}

// ErrNotYet is that something which was wished for is not there: later it may be.
var ErrNotYet = errors.New("turn")

// Decide makes of a wish and of facts what is to be told. It asks nobody.
func Decide(w Wish, f Facts) Decision {
	d := decider{Wish: w, Facts: f}
	for _, name := range w.Names {
		if err := f.Names[name].Err; err != nil {
			d.fail(fmt.Errorf("%w.external_ip: %w", ErrNotYet, err))
		}
	}
	for _, is4 := range []bool{true, false} {
		d.family(is4)
	}
	return d.Decision
}

type decider struct {
	Wish
	Facts
	Decision
}

func (d *decider) fail(err error) {
	if d.Err != nil {
		err = fmt.Errorf("%w; %w", d.Err, err)
	}
	d.Err = err
}

func (d *decider) note(format string, args ...any) {
	d.Notes = append(d.Notes, fmt.Sprintf(format, args...))
}

func (d *decider) add(local, public netip.Addr, s Source, why string) {
	if local != public {
		why += fmt.Sprintf(", NATed to %s", local)
	}
	d.Addresses = append(d.Addresses, Address{local, public, s, why})
}

// family decides about one family: what is written wins over what is found.
func (d *decider) family(is4 bool) {
	if d.relays(is4) {
		return
	}
	for _, a := range d.Addrs {
		if a.Is4() != is4 {
			continue
		}
		if local := d.Machine.localFor(a); local.IsValid() {
			d.add(local, a, Written, "turn.external_ip")
		} else {
			d.fail(fmt.Errorf("turn.external_ip: %s: this machine has no address of its family", a))
		}
		return
	}
	for _, name := range d.Wish.Names {
		addrs := d.Facts.Names[name].Addrs
		for _, a := range addrs {
			if a.Is4() != is4 {
				continue
			}
			if local := d.Machine.localFor(a); local.IsValid() {
				d.add(local, a, DNS, "dns:"+name)
				return
			} else if len(addrs) == 1 {
				d.fail(fmt.Errorf("turn.external_ip: dns:%s is %s: this machine has no address of its family", name, a))
			}
		}
	}
	if d.Auto {
		d.found(is4)
	}
}

// relays takes the written relay addresses of a family, and reports whether there are
// any.
func (d *decider) relays(is4 bool) (written bool) {
	var absent []string
	before := len(d.Addresses)
	for _, r := range d.Relays {
		switch {
		case r.Local.Is4() != is4:
			continue
		case slices.Contains(d.Machine.Bound, r.Local):
			d.add(r.Local, r.Public, Written, "turn.relay_ips")
		default:
			absent = append(absent, r.Local.String())
		}
		written = true
	}
	switch {
	case len(absent) == 0:
	case len(d.Addresses) == before:
		d.fail(fmt.Errorf("%w.relay_ips: %s: not an address of this machine", ErrNotYet, strings.Join(absent, ", ")))
	default:
		d.note("turn.relay_ips: %s: not an address of this machine, so it is left out", strings.Join(absent, ", "))
	}
	return written
}

// found takes the best address of a family that is known without a word in the
// configuration.
func (d *decider) found(is4 bool) {
	local, why := d.Machine.own(is4)
	if !local.IsValid() {
		return
	}
	if IsPublic(local) {
		d.add(local, local, Interface, why)
		return
	}
	d.gateways(is4)
	if IsUsable(local) {
		if public, source, by := d.claimed(is4); public.IsValid() {
			d.add(local, public, source, by)
			return
		}
		d.Asking = d.Asking || d.Discover && !d.Asked
	}
	d.add(local, local, Local, why)
}

// claimed is the public address that others agree about.
func (d *decider) claimed(is4 bool) (public netip.Addr, s Source, why string) {
	if c := d.claims(Metadata, is4); len(c) > 0 && d.Discover {
		return c[0].Addr, Metadata, "metadata of " + c[0].By
	}
	if d.Discover {
		list := d.claims(STUN, is4)
		if addr, by := agreed(list); addr.IsValid() {
			return addr, STUN, strings.Join(by, " and ") + " agree"
		}
		if d.Asked && is4 { // of IPv6 there is usually none to be found
			d.note("nobody could tell the public address: %s", strings.Join(append(said(family(of(d.Claims, STUN), is4)), d.Silent...), "; "))
		}
	}
	if c := d.claims(Gateway, is4); len(c) > 0 {
		return c[0].Addr, Gateway, c[0].By + " has it"
	}
	return public, "", ""
}

// claims are those of a source about a family that may be believed.
func (d *decider) claims(s Source, is4 bool) (out []Claim) {
	for _, c := range d.Claims {
		if c.Source == s && c.Addr.Is4() == is4 && IsPublic(c.Addr) {
			out = append(out, c)
		}
	}
	return out
}

// gateways notes where a router that forwards our ports has no public address itself.
func (d *decider) gateways(is4 bool) {
	for _, c := range d.Claims {
		if c.Source == Gateway && c.Addr.Is4() == is4 && !IsPublic(c.Addr) {
			d.note("%s has itself only %s, behind the provider's NAT (CGNAT): nobody outside reaches a relay here, "+
				"whatever it forwards; use a server with a public address, or IPv6", c.By, c.Addr)
		}
	}
}

// agreed returns the address that at least two of the claims name, and more than name
// any other.
func agreed(claims []Claim) (addr netip.Addr, by []string) {
	votes := map[netip.Addr][]string{}
	for _, c := range claims {
		votes[c.Addr] = append(votes[c.Addr], c.By)
	}
	tie := false
	for a, names := range votes {
		switch n := cmp.Compare(len(names), len(by)); {
		case n > 0:
			addr, by, tie = a, names, false
		case n == 0:
			tie = true
		}
	}
	if len(by) < 2 || tie {
		return netip.Addr{}, nil
	}
	return addr, by
}

// said tells what each claimed.
func said(claims []Claim) (out []string) {
	for _, c := range claims {
		but := "and no second server agrees"
		if !IsPublic(c.Addr) {
			but = "which is not public"
		}
		out = append(out, fmt.Sprintf("%s says %s, %s", c.By, c.Addr, but))
	}
	return out
}

// asks reports for which families others are to be asked: IPv4, IPv6.
func (w Wish) asks(m Machine) (out [2]bool) {
	for i, is4 := range []bool{true, false} {
		decided := slices.ContainsFunc(w.Relays, func(p Pair) bool { return p.Local.Is4() == is4 }) ||
			slices.ContainsFunc(w.Addrs, func(a netip.Addr) bool { return a.Is4() == is4 })
		local, _ := m.own(is4)
		out[i] = w.Auto && w.Discover && !decided && IsUsable(local) && !IsPublic(local)
	}
	return out
}
