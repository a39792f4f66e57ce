package config

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// List is a list that may also be written as its only element; "" is the empty list.
type List[T any] []T

// Duration is a time span: 90s, 5m, 1h30m, 7d; 0 alone needs no unit.
type Duration time.Duration

var days = regexp.MustCompile(`^(\d{1,5})d(.*)$`)

// UnmarshalText parses s; negative spans are refused.
func (d *Duration) UnmarshalText(s []byte) error {
	text := string(s)
	bad := fmt.Errorf("%q is not a duration; write for example 90s, 5m, 1h30m or 7d", text)
	var whole time.Duration
	if m := days.FindStringSubmatch(text); m != nil {
		n, _ := strconv.Atoi(m[1])
		whole = time.Duration(n) * 24 * time.Hour
		if text = m[2]; text == "" {
			text = "0"
		}
	}
	part, err := time.ParseDuration(text)
	if err != nil || part < 0 || whole+part < 0 {
		return bad
	}
	*d = Duration(whole + part)
	return nil
}

// String is the shortest form that UnmarshalText reads back.
func (d Duration) String() string {
	if d == 0 {
		return "0"
	}
	const day = Duration(24 * time.Hour)
	if d%day == 0 {
		return fmt.Sprintf("%dd", d/day)
	}
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

type unit struct {
	name string
	per  int64
}

var sizeUnits = []unit{
	{"", 1},
	{"B", 1},
	{"KiB", 1 << 10},
	{"MiB", 1 << 20},
	{"GiB", 1 << 30},
	{"kB", 1e3},
	{"KB", 1e3},
	{"MB", 1e6},
	{"GB", 1e9},
}

var bitUnits = []unit{{"", 1}, {"bit", 1}, {"kbit", 1e3}, {"Kbit", 1e3}, {"Mbit", 1e6}, {"Gbit", 1e9}}

// Size is a number of bytes: 65536, 64KiB, 1MB.
type Size int64

// UnmarshalText parses s.
func (b *Size) UnmarshalText(s []byte) error {
	n, ok := parseUnits(string(s), sizeUnits)
	if !ok {
		return fmt.Errorf("%q is not a size; write for example 64KiB, 1MB or a number of bytes", s)
	}
	*b = Size(n)
	return nil
}

func (b Size) String() string { return formatUnits(int64(b), sizeUnits) }

// Bitrate is a number of bits per second: 20Mbit, 500kbit.
type Bitrate int64

// UnmarshalText parses s.
func (b *Bitrate) UnmarshalText(s []byte) error {
	n, ok := parseUnits(string(s), bitUnits)
	if !ok {
		return fmt.Errorf("%q is not a bit rate; write for example 20Mbit, 500kbit or a number of bits per second", s)
	}
	*b = Bitrate(n)
	return nil
}

func (b Bitrate) String() string { return formatUnits(int64(b), bitUnits) }

func parseUnits(s string, units []unit) (int64, bool) {
	digits := len(s) - len(strings.TrimLeft(s, "0123456789"))
	n, err := strconv.ParseInt(s[:digits], 10, 64)
	if err != nil {
		return 0, false
	}
	for _, u := range units {
		if u.name == strings.TrimPrefix(s[digits:], " ") {
			return n * u.per, n <= math.MaxInt64/u.per
		}
	}
	return 0, false
}

func formatUnits(n int64, units []unit) string {
	best := units[0]
	for _, u := range units {
		if n != 0 && n%u.per == 0 && u.per > best.per {
			best = u
		}
	}
	return strconv.FormatInt(n/best.per, 10) + best.name
}

// Rate is a number of events per time: 10/s, 10/10s, 600/m; 0 = unlimited.
type Rate struct {
	N   int
	Per time.Duration
}

// UnmarshalText parses s.
func (r *Rate) UnmarshalText(s []byte) error {
	bad := fmt.Errorf("%q is not a rate; write for example 10/s or 10/10s, or 0 for unlimited", s)
	if string(s) == "0" {
		*r = Rate{}
		return nil
	}
	count, per, ok := strings.Cut(string(s), "/")
	n, err := strconv.ParseUint(count, 10, 31)
	if !ok || err != nil || n == 0 || per == "" {
		return bad
	}
	if per[0] < '0' || per[0] > '9' {
		per = "1" + per
	}
	d, err := time.ParseDuration(per)
	if err != nil || d <= 0 {
		return bad
	}
	*r = Rate{int(n), d}
	return nil
}

func (r Rate) String() string {
	if r.N == 0 {
		return "0"
	}
	per := Duration(r.Per).String()
	for _, one := range []string{"1s", "1m", "1h"} {
		if per == one {
			per = per[1:]
		}
	}
	return fmt.Sprintf("%d/%s", r.N, per)
}

// Count is a number of things.
type Count int

// UnmarshalText parses s; negative numbers are refused.
func (c *Count) UnmarshalText(s []byte) error {
	n, err := strconv.ParseUint(string(s), 10, 31)
	if err != nil {
		return fmt.Errorf("%q is not a number from 0 to %d", s, math.MaxInt32)
	}
	*c = Count(n)
	return nil
}

func (c Count) String() string { return strconv.Itoa(int(c)) }

// PortRange is a range of ports, both ends included: 49152-65535.
type PortRange struct{ Min, Max uint16 }

// UnmarshalText parses s.
func (p *PortRange) UnmarshalText(s []byte) error {
	low, high, ok := strings.Cut(string(s), "-")
	minPort, err1 := strconv.ParseUint(strings.TrimSpace(low), 10, 16)
	maxPort, err2 := strconv.ParseUint(strings.TrimSpace(high), 10, 16)
	switch {
	case !ok || err1 != nil || err2 != nil || minPort == 0:
		return fmt.Errorf("%q is not a range of ports; write for example 49152-65535", s)
	case minPort > maxPort:
		return fmt.Errorf("%q ends before it begins; write %d-%d", s, maxPort, minPort)
	}
	*p = PortRange{uint16(minPort), uint16(maxPort)}
	return nil
}

func (p PortRange) String() string { return fmt.Sprintf("%d-%d", p.Min, p.Max) }

// Contains reports whether port lies in the range.
func (p PortRange) Contains(port uint16) bool { return port >= p.Min && port <= p.Max }

// Address is where to listen: ":443", "192.0.2.1:443", "[2001:db8::1]:443", or
// (admin only) "unix:/path".
type Address string

// UnmarshalText parses s.
func (a *Address) UnmarshalText(s []byte) error {
	text := string(s)
	if path, ok := strings.CutPrefix(text, "unix:"); ok {
		if !strings.HasPrefix(path, "/") {
			return fmt.Errorf("%q needs an absolute path, like unix:/run/rtcd/admin.sock", text)
		}
		*a = Address(text)
		return nil
	}
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		if _, err := strconv.ParseUint(text, 10, 16); err == nil {
			return fmt.Errorf("%q is a port, not an address; did you mean %q?", text, ":"+text)
		}
		if addr, err := netip.ParseAddr(text); err == nil {
			return fmt.Errorf("%q has no port; write for example %q", text, netip.AddrPortFrom(addr, 3478))
		}
		return fmt.Errorf("%q is not an address to listen on; write for example \":3478\" or \"192.0.2.1:3478\"", text)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 && port != "0" {
		return fmt.Errorf("%q has no port from 0 to 65535", text)
	}
	if host != "" {
		if _, err := netip.ParseAddr(host); err != nil {
			return fmt.Errorf("%q: %q is not an IP address of this machine", text, host)
		}
	}
	*a = Address(text)
	return nil
}

// Unix returns the path of a unix socket.
func (a Address) Unix() (path string, ok bool) { return strings.CutPrefix(string(a), "unix:") }

// AddrPort returns the address; an empty host is the unspecified IPv6 address,
// which takes both families. It is invalid for a unix socket.
func (a Address) AddrPort() netip.AddrPort {
	host, port, err := net.SplitHostPort(string(a))
	if err != nil {
		return netip.AddrPort{}
	}
	addr := netip.IPv6Unspecified()
	if host != "" {
		addr, _ = netip.ParseAddr(host)
	}
	n, _ := strconv.ParseUint(port, 10, 16)
	return netip.AddrPortFrom(addr, uint16(n))
}

// ExternalIP is one entry of turn.external_ip.
type ExternalIP string

// ExternalAuto takes the address of the default route of each family.
const ExternalAuto ExternalIP = "auto"

// UnmarshalText parses s.
func (e *ExternalIP) UnmarshalText(s []byte) error {
	text := string(s)
	if name, ok := strings.CutPrefix(text, "dns:"); ok {
		if !isHostName(name) {
			return fmt.Errorf("%q does not name a host; write for example dns:home.example.com", text)
		}
	} else if text != string(ExternalAuto) {
		addr, err := netip.ParseAddr(text)
		if err != nil {
			return fmt.Errorf("%q is not auto, an IP address or dns:NAME", text)
		}
		if addr.IsUnspecified() || addr.IsMulticast() || addr.Zone() != "" {
			return fmt.Errorf("%q cannot be reached by anybody", text)
		}
	}
	*e = ExternalIP(text)
	return nil
}

// Addr returns the address where one is written.
func (e ExternalIP) Addr() (netip.Addr, bool) {
	addr, err := netip.ParseAddr(string(e))
	return addr.Unmap(), err == nil
}

// Name returns the name to look up where one is written.
func (e ExternalIP) Name() (string, bool) { return strings.CutPrefix(string(e), "dns:") }

// PeerRule is one entry of a list of peers: an address, a prefix, or (in deny)
// the word recommended.
type PeerRule string

// PeersRecommended stands for the built-in list.
const PeersRecommended PeerRule = "recommended"

// UnmarshalText parses s.
func (p *PeerRule) UnmarshalText(s []byte) error {
	if rule := PeerRule(s); rule == PeersRecommended {
		*p = rule
		return nil
	}
	prefix, err := parsePrefix(string(s), "an address, a prefix like 10.0.0.0/8, or recommended")
	if err == nil {
		*p = PeerRule(prefix.String())
	}
	return err
}

// parsePrefix takes an address for the prefix of only itself.
func parsePrefix(s, want string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(s); err == nil && addr.Zone() == "" {
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(s)
	if err != nil {
		return prefix, fmt.Errorf("%q is not %s", s, want)
	}
	if masked := prefix.Masked(); masked != prefix {
		return prefix, fmt.Errorf("%q has bits set after its prefix; did you mean %q?", s, masked)
	}
	return prefix, nil
}

// Network is an address or a prefix.
type Network struct{ netip.Prefix }

// UnmarshalText parses s.
func (n *Network) UnmarshalText(s []byte) (err error) {
	n.Prefix, err = parsePrefix(string(s), "an address or a prefix like 10.0.0.0/8")
	return err
}

// Endpoint is an IP address and port of another server.
type Endpoint string

// UnmarshalText parses s.
func (e *Endpoint) UnmarshalText(s []byte) error {
	at, err := netip.ParseAddrPort(string(s))
	if err != nil || at.Port() == 0 || at.Addr().IsUnspecified() || at.Addr().Zone() != "" {
		return fmt.Errorf("%q is not an IP address and port like 203.0.113.9:3478 or [2001:db8::9]:3478", s)
	}
	*e = Endpoint(netip.AddrPortFrom(at.Addr().Unmap(), at.Port()).String())
	return nil
}

// AddrPort returns the address and port.
func (e Endpoint) AddrPort() netip.AddrPort {
	at, _ := netip.ParseAddrPort(string(e))
	return at
}

// Prefix returns the prefix, unless the rule is the word recommended.
func (p PeerRule) Prefix() (netip.Prefix, bool) {
	prefix, err := netip.ParsePrefix(string(p))
	return prefix, err == nil
}

// Origin is one entry of signaling.origins: self, * or a web origin.
type Origin string

// OriginSelf is the host that the request was sent to.
const OriginSelf Origin = "self"

// UnmarshalText parses s.
func (o *Origin) UnmarshalText(s []byte) error {
	text := string(s)
	if text != "*" && text != string(OriginSelf) {
		u, err := url.Parse(text)
		if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
			return fmt.Errorf("%q is not self, * or an origin like https://app.example.com", text)
		}
		if want := u.Scheme + "://" + u.Host; text != want {
			return fmt.Errorf("%q is more than an origin; did you mean %q?", text, want)
		}
	}
	*o = Origin(text)
	return nil
}

// TLSMode is tls.mode.
type TLSMode string

// The values of TLSMode.
const (
	TLSAuto       TLSMode = "auto"
	TLSACME       TLSMode = "acme"
	TLSFiles      TLSMode = "files"
	TLSSelfSigned TLSMode = "self-signed"
	TLSOff        TLSMode = "off"
)

func (TLSMode) words() []string { return []string{"auto", "acme", "files", "self-signed", "off"} }

// Auth is signaling.auth.
type Auth string

// The values of Auth.
const (
	AuthToken Auth = "token"
	AuthNone  Auth = "none"
)

func (Auth) words() []string { return []string{"token", "none"} }

// Access is the key check.
type Access string

// The values of Access.
const (
	AccessToken Access = "token"
	AccessOpen  Access = "open"
)

func (Access) words() []string { return []string{"token", "open"} }

// LogLevel is log.level.
type LogLevel string

func (LogLevel) words() []string { return []string{"debug", "info", "warn", "error"} }

// LogFormat is log.format.
type LogFormat string

func (LogFormat) words() []string { return []string{"auto", "text", "json"} }

// enum is a string of which only some are allowed.
type enum interface{ words() []string }

var hostLabel = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?$`)

func isHostName(s string) bool {
	if len(s) == 0 || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(strings.TrimSuffix(s, "."), ".") {
		if !hostLabel.MatchString(label) {
			return false
		}
	}
	return true
}

// checkDomain tells what is wrong with the key domain.
func checkDomain(domain string) error {
	if domain == "" || isHostName(domain) {
		return nil
	}
	if _, err := netip.ParseAddr(domain); err == nil {
		return nil
	}
	if u, err := url.Parse(domain); err == nil && u.Hostname() != "" {
		return fmt.Errorf("%q is an address of a page; did you mean %q?", domain, u.Hostname())
	}
	if host, _, err := net.SplitHostPort(domain); err == nil {
		return fmt.Errorf("%q has a port; did you mean %q? Ports belong under listen", domain, host)
	}
	return errors.New(strconv.Quote(domain) + " is neither a host name nor an IP address")
}
