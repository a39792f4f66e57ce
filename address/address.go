package address

import "net/netip"

// Address is one address of relayed traffic.
type Address struct {
	Local  netip.Addr // of this machine, to bind
	Public netip.Addr // what others are told; the same unless NAT stands between
	Source Source
	Why    string // for people: "default route"
}

// Source says what kind of knowledge an address is.
type Source string

// The sources. Metadata, STUN and Gateway are also those of a [Claim].
const (
	Written   Source = "configuration"
	DNS       Source = "dns"
	Interface Source = "interface" // a public address of this machine
	Metadata  Source = "metadata"  // of a cloud
	STUN      Source = "stun"
	Gateway   Source = "gateway" // the router that forwards our ports
	Local     Source = "local"   // nothing better is known: nobody outside reaches it
)

// sharedSpace is behind the NAT of a provider (RFC 6598).
var sharedSpace = netip.MustParsePrefix("100.64.0.0/10")

// IsShared tells whether a is behind the NAT of a provider, as the external address of
// a router too (CGNAT, RFC 6598).
func IsShared(a netip.Addr) bool { return sharedSpace.Contains(a) }

// nowhere is what else is no address on the internet (RFC 6890), documentation apart:
// DS-Lite and other protocols' own, benchmarks, the former class E.
var nowhere = []netip.Prefix{
	netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("240.0.0.0/4"),
}

// IsPublic tells whether the whole internet could reach an address.
func IsPublic(a netip.Addr) bool {
	if !IsUsable(a) || a.IsPrivate() || IsShared(a) {
		return false
	}
	for _, p := range nowhere {
		if p.Contains(a) {
			return false
		}
	}
	return true
}

// IsUsable tells whether anybody but this machine could reach an address.
func IsUsable(a netip.Addr) bool { return a.IsGlobalUnicast() && !a.Is4In6() }
