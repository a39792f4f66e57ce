package probe

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
)

// Target is where and how to reach a server.
type Target struct {
	URL       string // as browsers write it
	TURN      bool   // false for stun:, which only has bindings
	Host      string
	Port      int
	Transport string // udp, tcp, tls or dtls
}

// ParseURL reads an ICE URL (RFC 7064, RFC 7065):
//
//	stun:HOST[:PORT]   turn:HOST[:PORT][?transport=udp|tcp]   turns:HOST[:PORT][?transport=tcp|udp]
//
// turns over udp is DTLS. A "//" after the scheme, which many write, is let pass.
func ParseURL(s string) (Target, error) {
	scheme, rest, ok := strings.Cut(s, ":")
	if !ok {
		return Target{}, fmt.Errorf("%q has no scheme; write for example turn:%s", s, s)
	}
	rest = strings.TrimPrefix(rest, "//")
	address, query, hasQuery := strings.Cut(rest, "?")
	t := Target{TURN: true, Port: 3478, Transport: "udp"}
	switch strings.ToLower(scheme) {
	case "stun":
		t.TURN = false
	case "turn":
	case "turns":
		t.Port, t.Transport = 5349, "tls"
	default:
		return Target{}, fmt.Errorf("%q: want a URL that begins with stun:, turn: or turns:, like turn:rtc.example.com:3478", s)
	}
	if hasQuery {
		if err := t.setTransport(query); err != nil {
			return Target{}, fmt.Errorf("%q: %w", s, err)
		}
	}
	if err := t.setAddress(address); err != nil {
		return Target{}, fmt.Errorf("%q: %w", s, err)
	}
	t.URL = strings.ToLower(scheme) + ":" + rest
	return t, nil
}

func (t *Target) setTransport(query string) error {
	encrypted := t.Transport == "tls"
	switch {
	case !t.TURN:
		return errors.New("stun: takes no parameter")
	case query == "transport=udp" && encrypted:
		t.Transport = "dtls"
	case query == "transport=udp":
		t.Transport = "udp"
	case query == "transport=tcp" && !encrypted:
		t.Transport = "tcp"
	case query == "transport=tcp":
	default:
		return errors.New("want ?transport=udp or ?transport=tcp")
	}
	return nil
}

func (t *Target) setAddress(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil { // no port, or an IPv6 address in brackets without one
		host = strings.TrimSuffix(strings.TrimPrefix(address, "["), "]")
		if strings.Contains(host, ":") && host == address {
			return errors.New("put the IPv6 address in brackets")
		}
	} else {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return fmt.Errorf("%q is not a port", port)
		}
		t.Port = int(n)
	}
	if host == "" || strings.ContainsAny(host, "/@ []") {
		return errors.New("the host is missing or not one")
	}
	t.Host = host
	return nil
}

// stream tells whether the transport is a byte stream.
func (t Target) stream() bool { return t.Transport == "tcp" || t.Transport == "tls" }
