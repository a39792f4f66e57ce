package integrate

import (
	"cmp"
	"crypto/rand"
	"errors"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Server is the relay that a program is to use.
type Server struct {
	STUN, TURN []string // URLs as browsers are told
	Realm      string
	Secret     string        // that credentials are signed with
	TTL        time.Duration // that programs with the secret should give their credentials
	Site       *url.URL      // of pages and HTTP interface, nil if there is none
	APIKey     string        // for /turn, "" if there is none

	// A pair for programs that cannot sign.
	Username, Password string
	Expires            time.Time
}

// Endpoint is where one transport of the relay is.
type Endpoint struct {
	Host string // a name or an address, IPv6 without brackets
	Port int
	URL  string
}

// Addr is host:port, with brackets round an IPv6 address.
func (e *Endpoint) Addr() string { return net.JoinHostPort(e.Host, strconv.Itoa(e.Port)) }

// UDP is TURN over UDP, nil if it is not offered.
func (s Server) UDP() *Endpoint { return first(s.TURN, "turn:", "udp") }

// TCP is TURN over TCP, nil if it is not offered.
func (s Server) TCP() *Endpoint { return first(s.TURN, "turn:", "tcp") }

// TLS is TURN over TLS, nil if it is not offered.
func (s Server) TLS() *Endpoint { return first(s.TURN, "turns:", "tcp") }

// Any is the first of those that is offered.
func (s Server) Any() *Endpoint { return cmp.Or(s.UDP(), s.TCP(), s.TLS()) }

// STUNServer is where addresses can be asked for, nil if that is not offered.
func (s Server) STUNServer() *Endpoint { return first(s.STUN, "stun:", "") }

// Seconds are those of the TTL.
func (s Server) Seconds() int { return int(s.TTL.Seconds()) }

// Minutes are those of the TTL.
func (s Server) Minutes() int { return int(s.TTL.Minutes()) }

// REST is the URL at which credentials are handed out to who has the API key.
func (s Server) REST() string {
	if s.Site == nil {
		return ""
	}
	return s.Site.JoinPath("turn").String()
}

// first finds the first URL of a scheme and transport, "" for any.
func first(urls []string, scheme, transport string) *Endpoint {
	for _, u := range urls {
		rest, ok := strings.CutPrefix(u, scheme)
		address, query, _ := strings.Cut(rest, "?")
		if got := strings.TrimPrefix(query, "transport="); !ok || transport != "" && got != transport {
			continue
		}
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			continue
		}
		if n, err := strconv.Atoi(port); err == nil {
			return &Endpoint{host, n, u}
		}
	}
	return nil
}

// check tells what is missing for any program to use the server.
func (s Server) check() error {
	if s.Any() == nil {
		return errors.New("this server offers no TURN URL: set listen.turn")
	}
	return nil
}

// SitePort is the port of the pages.
func (s Server) SitePort() int {
	if n, err := strconv.Atoi(s.Site.Port()); err == nil {
		return n
	}
	if s.Site.Scheme == "https" {
		return 443
	}
	return 80
}

// ScreegoHost is the host as screego writes it: an address, or dns: and a name.
func (s Server) ScreegoHost() string {
	host := s.Any().Host
	if _, err := netip.ParseAddr(host); err != nil {
		return "dns:" + host
	}
	return host
}

// SharedKey is a new key that two other programs are to share.
func (s Server) SharedKey() string { return rand.Text() }
