package integrate

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// converter collects what a turnserver.conf says about each of our keys.
type converter struct {
	Conversion
	ips       []sourced // listening-ip
	aux       []sourced // aux-server, as address:port
	port      sourced   // of TURN
	tlsPort   sourced
	min, max  sourced
	realm     sourced
	external  []external
	relays    []external // relay-ip
	secrets   []sourced
	certFile  sourced
	keyFile   sourced
	deny      []sourced
	allow     []sourced
	userLimit sourced
	allLimit  sourced
	bandwidth sourced
	debug     sourced

	tlsLine           int // of tls-listening-port
	offTLS, offDTLS   int // the line, 0 if not switched off
	secretAuth        bool
	openRelay, longer bool
}

// sourced is a value and the lines that it came from.
type sourced struct{ value, from string }

func (s sourced) given() bool { return s.from != "" }

func newConverter() *converter { return &converter{} }

func (l line) as(value string) sourced {
	return sourced{value, fmt.Sprintf("%s, line %d", l.name, l.number)}
}

func (l line) port() (sourced, error) {
	if n, err := strconv.ParseUint(l.value, 10, 16); err != nil || n == 0 {
		return sourced{}, fmt.Errorf("%q is not a port", l.value)
	}
	return l.as(l.value), nil
}

func (l line) number64() (uint64, error) {
	n, err := strconv.ParseUint(l.value, 10, 31)
	if err != nil {
		return 0, fmt.Errorf("%q is not a number", l.value)
	}
	return n, nil
}

func (c *converter) listeningIP(l line) error {
	addr, err := netip.ParseAddr(l.value)
	if err != nil {
		return fmt.Errorf("%q is not an address", l.value)
	}
	c.ips = append(c.ips, l.as(addr.String()))
	return nil
}

func (c *converter) auxServer(l line) error {
	at, err := netip.ParseAddrPort(l.value)
	if err != nil {
		return fmt.Errorf("%q is not address:port", l.value)
	}
	c.aux = append(c.aux, l.as(at.String()))
	return nil
}

func (c *converter) listeningPort(l line) (err error) { c.port, err = l.port(); return err }
func (c *converter) tlsListeningPort(l line) (err error) {
	c.tlsPort, err = l.port()
	c.tlsLine = l.number
	return err
}
func (c *converter) minPort(l line) (err error) { c.min, err = l.port(); return err }
func (c *converter) maxPort(l line) (err error) { c.max, err = l.port(); return err }

// external is an external-ip: PUBLIC, or PUBLIC/PRIVATE.
type external struct {
	line
	public, private netip.Addr // private is the zero where none is given
}

func (c *converter) externalIP(l line) (err error) {
	e := external{line: l}
	public, private, nat := strings.Cut(l.value, "/")
	if e.public, err = netip.ParseAddr(public); err != nil {
		return fmt.Errorf("%q is not an address", public)
	}
	if nat {
		if e.private, err = netip.ParseAddr(private); err != nil || e.private.Is4() != e.public.Is4() {
			return fmt.Errorf("%q is not an address of the same family", private)
		}
	}
	c.external = append(c.external, e)
	return nil
}

func (c *converter) relayIP(l line) error {
	addr, err := netip.ParseAddr(l.value)
	if err != nil {
		return fmt.Errorf("%q is not an address", l.value)
	}
	c.relays = append(c.relays, external{line: l, public: addr, private: addr})
	return nil
}

// relayed divides the addresses of relayed traffic into those of turn.external_ip, one
// of a family, for which rtcd finds what to bind, and pairs for turn.relay_ips.
func (c *converter) relayed() (externals, pairs []sourced) {
	for _, is4 := range []bool{true, false} {
		of := func(list []external) (out []external) {
			for _, e := range list {
				if e.public.Is4() == is4 {
					out = append(out, e)
				}
			}
			return out
		}
		publics, locals := of(c.external), of(c.relays)
		switch {
		case len(locals) > 0:
			for _, l := range locals {
				pairs = append(pairs, pairOf(l, publics))
			}
		case len(publics) == 1:
			externals = append(externals, publics[0].as(publics[0].public.String()))
		default:
			for _, p := range publics {
				pairs = append(pairs, pairOf(p, nil))
			}
		}
	}
	return externals, pairs
}

// pairOf is a relay address with the public one that leads to it: the one that is given
// for it, else the one that is given for all.
func pairOf(l external, publics []external) sourced {
	public, from := l.public, l.as("").from
	for _, p := range publics {
		if p.private == l.private || !p.private.IsValid() {
			public, from = p.public, joined(from, p.as("").from)
			break
		}
	}
	if !l.private.IsValid() || public == l.private {
		return sourced{public.String(), from}
	}
	return sourced{public.String() + "/" + l.private.String(), from}
}

func (c *converter) realmOf(l line) error {
	if c.realm.given() && c.realm.value != l.value {
		c.leave(l, "rtcd has one realm; "+c.realm.value+" was there before")
		return nil
	}
	c.realm = l.as(l.value)
	return nil
}

func (c *converter) secret(l line) error {
	if l.value == "" {
		return errors.New("is empty")
	}
	c.secrets = append(c.secrets, l.as(l.value))
	return nil
}

func (c *converter) useSecret(l line) error {
	c.secretAuth = c.secretAuth || l.on()
	c.NotNeeded = append(c.NotNeeded, Leftover{l.number, l.name, always})
	return nil
}

func (c *converter) cert(l line) error { c.certFile = l.as(l.value); return nil }
func (c *converter) key(l line) error  { c.keyFile = l.as(l.value); return nil }

func (c *converter) noTLS(l line) error {
	if l.on() {
		c.offTLS = l.number
	}
	return nil
}

func (c *converter) noDTLS(l line) error {
	if l.on() {
		c.offDTLS = l.number
	}
	return nil
}

func (c *converter) userQuota(l line) error {
	n, err := l.number64()
	c.userLimit = l.as(fmt.Sprint(n))
	return err
}

func (c *converter) totalQuota(l line) error {
	n, err := l.number64()
	c.allLimit = l.as(fmt.Sprint(n))
	return err
}

// maxBPS is bytes per second of a session in both directions, which here is bits and
// each direction.
func (c *converter) maxBPS(l line) error {
	n, err := l.number64()
	c.bandwidth = l.as(fmt.Sprintf("%dbit", n*8))
	return err
}

func (c *converter) deniedPeer(l line) error  { return peers(&c.deny, l) }
func (c *converter) allowedPeer(l line) error { return peers(&c.allow, l) }

// peers adds the prefixes of an address, a range or a prefix.
func peers(list *[]sourced, l line) error {
	prefixes, err := prefixesOf(l.value)
	for _, p := range prefixes {
		*list = append(*list, l.as(p))
	}
	return err
}

func (c *converter) allowLoopback(l line) error {
	if l.on() {
		c.allow = append(c.allow, l.as("127.0.0.0/8"), l.as("::1"))
		c.note("allow-loopback-peers lets whoever has credentials reach services of this machine; consider removing it from turn.peers.allow")
	}
	return nil
}

func (c *converter) verbose(l line) error {
	if l.on() {
		c.debug = l.as("debug")
	}
	return nil
}

func (c *converter) user(l line) error {
	c.leave(l, users)
	return nil
}

func (c *converter) longTerm(l line) error {
	if l.on() {
		c.longer = true
	}
	c.NotNeeded = append(c.NotNeeded, Leftover{l.number, l.name, always})
	return nil
}

func (c *converter) noAuth(l line) error {
	if l.on() {
		c.openRelay = true
		c.leave(l, "rtcd is never an open relay: every client needs credentials")
	}
	return nil
}

func (c *converter) noUDP(l line) error {
	if l.on() {
		c.leave(l, "listen.turn is UDP and TCP; close the UDP port in the firewall")
	}
	return nil
}

func (c *converter) noTCP(l line) error {
	if l.on() {
		c.leave(l, "listen.turn is UDP and TCP; close the TCP port in the firewall")
	}
	return nil
}

// leave tells of an option, or of a value of it, that has no counterpart.
func (c *converter) leave(l line, why string) {
	c.NotSupported = append(c.NotSupported, Leftover{l.number, l.name, why})
}

func (c *converter) note(format string, args ...any) {
	c.Notes = append(c.Notes, fmt.Sprintf(format, args...))
}

// prefixesOf covers an address, a prefix, or a range FIRST-LAST exactly.
func prefixesOf(s string) ([]string, error) {
	first, last, isRange := strings.Cut(s, "-")
	low, err := netip.ParseAddr(strings.TrimSpace(first))
	if !isRange {
		if err == nil {
			return []string{low.String()}, nil
		}
		prefix, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, fmt.Errorf("%q is not an address, a prefix or a range", s)
		}
		return []string{prefix.Masked().String()}, nil
	}
	high, err2 := netip.ParseAddr(strings.TrimSpace(last))
	if err != nil || err2 != nil || low.BitLen() != high.BitLen() || high.Less(low) {
		return nil, fmt.Errorf("%q is not a range of addresses", s)
	}
	var out []string
	for {
		p := widest(low, high)
		out = append(out, p.String())
		end := lastOf(p)
		if end == high {
			return out, nil
		}
		low = end.Next()
	}
}

// widest is the largest prefix that begins at low and does not go past high.
func widest(low, high netip.Addr) netip.Prefix {
	best := netip.PrefixFrom(low, low.BitLen())
	for bits := low.BitLen() - 1; bits >= 0; bits-- {
		p := netip.PrefixFrom(low, bits)
		if p.Masked() != p || high.Less(lastOf(p)) {
			break
		}
		best = p
	}
	return best
}

// lastOf is the last address of a prefix.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := range b {
		ones := min(max(p.Bits()-8*i, 0), 8)
		b[i] |= byte(0xff >> ones)
	}
	last, _ := netip.AddrFromSlice(b)
	return last
}

// listen is what listens on a port: everything, or the addresses that are given.
func (c *converter) listen(port sourced, standard string) []sourced {
	if !port.given() {
		port = sourced{standard, "coturn's default"}
	}
	if len(c.ips) == 0 {
		return []sourced{{":" + port.value, port.from}}
	}
	var out []sourced
	for _, ip := range c.ips {
		out = append(out, sourced{net.JoinHostPort(ip.value, port.value), ip.from + " and " + port.from})
	}
	return out
}
