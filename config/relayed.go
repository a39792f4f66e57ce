package config

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"unicode/utf8"
)

// RelayIP is one entry of turn.relay_ips: IP, or PUBLIC/LOCAL.
type RelayIP string

// UnmarshalText parses s.
func (r *RelayIP) UnmarshalText(s []byte) error {
	text := string(s)
	public, local, nat := strings.Cut(text, "/")
	if !nat {
		local = public
	}
	a, err1 := netip.ParseAddr(public)
	b, err2 := netip.ParseAddr(local)
	switch {
	case err1 != nil || err2 != nil:
		return fmt.Errorf("%q is not an IP address, or two as PUBLIC/LOCAL like 203.0.113.5/10.0.0.5", text)
	case a.Unmap().Is4() != b.Unmap().Is4():
		return fmt.Errorf("%q has an address of each family; public and local address are of the same", text)
	}
	for _, addr := range []netip.Addr{a, b} {
		if addr.IsUnspecified() || addr.IsMulticast() || addr.Zone() != "" {
			return fmt.Errorf("%q: %s cannot be reached by anybody", text, addr)
		}
	}
	*r = RelayIP(text)
	return nil
}

// Addrs returns what the world sees and what is bound.
func (r RelayIP) Addrs() (public, local netip.Addr) {
	a, b, nat := strings.Cut(string(r), "/")
	public, _ = netip.ParseAddr(a)
	if local = public; nat {
		local, _ = netip.ParseAddr(b)
	}
	return public.Unmap(), local.Unmap()
}

// Host is a server somewhere: HOST:PORT, where HOST is a name or an address.
type Host string

// UnmarshalText parses s.
func (h *Host) UnmarshalText(s []byte) error {
	if err := checkHostPort(string(s)); err != nil {
		return err
	}
	*h = Host(s)
	return nil
}

// checkHostPort tells what is wrong with a HOST:PORT.
func checkHostPort(text string) error {
	if rest, ok := strings.CutPrefix(text, "stun:"); ok {
		return fmt.Errorf("%q is a URL; did you mean %q?", text, strings.TrimPrefix(rest, "//"))
	}
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return fmt.Errorf("%q is not a server with its port; write for example stun.example.com:3478", text)
	}
	if _, err := netip.ParseAddr(host); err != nil && !isHostName(host) {
		return fmt.Errorf("%q: %q is neither a host name nor an IP address", text, host)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("%q has no port from 1 to 65535", text)
	}
	return nil
}

// ICEURL is one entry of turn.urls, as RFC 7064 and RFC 7065 write it:
// turn:turn.example.com:3478?transport=udp.
type ICEURL string

// UnmarshalText parses s.
func (u *ICEURL) UnmarshalText(s []byte) error {
	text := string(s)
	scheme, rest, ok := strings.Cut(text, ":")
	scheme = strings.ToLower(scheme)
	turn := scheme == "turn" || scheme == "turns"
	if !ok || !turn && scheme != "stun" && scheme != "stuns" {
		return fmt.Errorf("%q is not a URL of a STUN or TURN server; write for example turn:turn.example.com:3478?transport=udp", text)
	}
	if bare, slashes := strings.CutPrefix(rest, "//"); slashes {
		return fmt.Errorf("%q has slashes, which browsers refuse; did you mean %q?", text, scheme+":"+strings.TrimSuffix(bare, "/"))
	}
	at, query, hasQuery := strings.Cut(rest, "?")
	if hasQuery && (!turn || query != "transport=udp" && query != "transport=tcp") {
		return fmt.Errorf("%q: only ?transport=udp or ?transport=tcp may follow, and only after the schemes turn and turns", text)
	}
	if strings.Contains(at, "@") {
		return fmt.Errorf("%q holds a user; clients get their credentials beside the URL", text)
	}
	if host := strings.TrimPrefix(at, "["); len(host) < len(at) && strings.HasSuffix(at, "]") || !strings.Contains(at, ":") {
		at = net.JoinHostPort(strings.TrimSuffix(host, "]"), "3478") // without a port the scheme's is meant
	}
	if err := checkHostPort(at); err != nil {
		return fmt.Errorf("%q: %w", text, err)
	}
	*u = ICEURL(scheme + ":" + rest)
	return nil
}

// STUN reports whether the URL is of a STUN server, to which no credentials belong.
func (u ICEURL) STUN() bool { return strings.HasPrefix(string(u), "stun") }

// PortMapping is turn.port_mapping.
type PortMapping string

// The values of PortMapping.
const (
	PortMappingOff  PortMapping = "off"
	PortMappingAuto PortMapping = "auto"
)

func (PortMapping) words() []string { return []string{"off", "auto"} }

// UserLimits is turn.limits.users: in the file a mapping of names, else a list of
// NAME=allocations:N/allocations_per_ip:N/bandwidth:RATE.
type UserLimits List[UserLimit]

// UserLimit is what one user has in place of the limits of everybody.
type UserLimit struct {
	Name string
	UserBounds
}

// UserBounds are those that a user can have for itself.
type UserBounds struct {
	Allocations      Count   `yaml:"allocations" jsonschema_description:"In place of allocations_per_user."`
	AllocationsPerIP Count   `yaml:"allocations_per_ip" jsonschema_description:"In place of allocations_per_ip; allocations of others at the same address count too."`
	Bandwidth        Bitrate `yaml:"bandwidth" jsonschema_description:"In place of bandwidth_per_allocation."`
}

// AsOthers is a bound that is not written: the user has that of everybody.
const AsOthers = -1

// setName implements named.
func (u *UserLimit) setName(name string) (any, error) {
	if name == "" || len(name) > 255 || !utf8.ValidString(name) {
		return nil, fmt.Errorf("%q is no name of a user; want 1 to 255 bytes", name)
	}
	u.Name, u.UserBounds = name, UserBounds{AsOthers, AsOthers, AsOthers}
	return &u.UserBounds, nil
}

// UnmarshalText parses s.
func (u *UserLimit) UnmarshalText(s []byte) error {
	text := string(s)
	at := strings.LastIndex(text, "=")
	if at < 0 {
		return fmt.Errorf("%q is not NAME=BOUNDS; write for example frigate=allocations:200/bandwidth:50Mbit", text)
	}
	if _, err := u.setName(text[:at]); err != nil {
		return err
	}
	if text = text[at+1:]; text == "" {
		return nil
	}
	for bound := range strings.SplitSeq(text, "/") {
		name, value, _ := strings.Cut(bound, ":")
		var err error
		switch name {
		case "allocations":
			err = u.Allocations.UnmarshalText([]byte(value))
		case "allocations_per_ip":
			err = u.AllocationsPerIP.UnmarshalText([]byte(value))
		case "bandwidth":
			err = u.Bandwidth.UnmarshalText([]byte(value))
		default:
			err = fmt.Errorf("%q is not one of allocations, allocations_per_ip, bandwidth", name)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", u.Name, err)
		}
	}
	return nil
}

// String is what UnmarshalText reads.
func (u UserLimit) String() string {
	var bounds []string
	for _, b := range []struct {
		name string
		set  bool
		text string
	}{
		{"allocations", u.Allocations != AsOthers, u.Allocations.String()},
		{"allocations_per_ip", u.AllocationsPerIP != AsOthers, u.AllocationsPerIP.String()},
		{"bandwidth", u.Bandwidth != AsOthers, u.Bandwidth.String()},
	} {
		if b.set {
			bounds = append(bounds, b.name+":"+b.text)
		}
	}
	return u.Name + "=" + strings.Join(bounds, "/")
}
