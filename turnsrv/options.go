package turnsrv

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"time"

	"rtcd/turnsrv/relay"
	"rtcd/turnsrv/udp"
)

// Options are fixed at the birth of a Server; zero values mean the defaults.
type Options struct {
	Listeners []Listener
	Realm     string       // must not be empty
	Keys      relay.Keys   // must not be nil; see Credentials
	NonceKey  []byte       // at least 16 bytes; the same key lets nonces outlive a restart
	Policy    relay.Policy // what SetPolicy may change later
	Limits    Limits
	Logger    *slog.Logger // default slog.Default()

	// Own is the user part of the server's own credentials, for tests of itself: no quota
	// counts its allocations and OnEvent does not hear of them. "" means there is none.
	Own string

	// OnEvent is told each step in the life of an allocation. It is called on the
	// goroutine that relays: it must not block nor call the Server.
	OnEvent func(relay.Event)

	// OnTrace is told what happens to clients that are being checked: see Server.Watch and
	// relay.Trace. It must not block nor call the Server; many goroutines call it.
	OnTrace func(relay.Trace)

	// Proxies are in front of TCP and TLS and say for whom they connect; nil = nobody is.
	Proxies interface {
		// Trusts tells whether a connection from there comes through a proxy.
		Trusts(net.Addr) bool
		// Introduce returns such a connection as its client's, whose address it has then. It
		// waits for what the proxy says, by the deadline that the connection has.
		Introduce(net.Conn) (net.Conn, error)
	}

	// UDP says how datagrams are read and written.
	UDP udp.Options
	// Listen makes stream listeners in place of TCP, for tests.
	Listen func(netip.AddrPort) (net.Listener, error)
}

// Listener is one address for clients.
type Listener struct {
	Transport relay.Transport
	Addr      string      // "IP:port"; without an IP all addresses of both families; port 0 chooses one
	TLS       *tls.Config // for TLS and DTLS; TLS 1.2 is the least
}

// String names the listener for errors and logs: "tcp 0.0.0.0:3478".
func (l Listener) String() string { return l.Transport.String() + " " + l.Addr }

// Limits bound connections, those of TCP and TLS together and those of DTLS apart.
// Zero means the default.
type Limits struct {
	ConnectionsPerIP int // not yet authenticated ones, per IPv4 address or IPv6 /64; default 32
	Unauthenticated  int // not yet authenticated ones in all; default 1024
	AllPerIP         int // per address, authenticated ones too; default an eighth of Connections or ConnectionsPerIP
	Connections      int // in all; default 16384, at most half of the descriptors that the process may have

	Handshake time.Duration // from accept to the first authenticated request; default 10 s
	Frame     time.Duration // from the first to the last byte of a frame; default 5 s
	Write     time.Duration // for one write; default 5 s
	Idle      time.Duration // without allocation and without a frame; default 10 min
	Queue     int           // bytes on their way to one client, but that one message always may be; default 96 KiB
}

func (o Options) withDefaults() (Options, error) {
	for _, l := range o.Listeners {
		if (l.Transport == relay.TLS || l.Transport == relay.DTLS) && l.TLS == nil {
			return o, fmt.Errorf("listener %v: no TLS configuration", l)
		}
		if _, err := l.addrs(); err != nil {
			return o, err
		}
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.UDP.Logger == nil {
		o.UDP.Logger = o.Logger
	}
	if o.Listen == nil {
		o.Listen = listenTCP
	}
	l := &o.Limits
	setDefault(&l.ConnectionsPerIP, 32)
	setDefault(&l.Unauthenticated, 1024)
	setDefault(&l.Connections, min(16384, maxDescriptors()/2))
	setDefault(&l.AllPerIP, max(l.Connections/8, l.ConnectionsPerIP))
	setDefault(&l.Handshake, 10*time.Second)
	setDefault(&l.Frame, 5*time.Second)
	setDefault(&l.Write, 5*time.Second)
	setDefault(&l.Idle, 10*time.Minute)
	setDefault(&l.Queue, 96<<10)
	return o, nil
}

func setDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// addrs returns what to bind: one address, or the wildcards of both families, of
// which the second need not work.
func (l Listener) addrs() ([]netip.AddrPort, error) {
	if port, ok := strings.CutPrefix(l.Addr, ":"); ok {
		four, err := netip.ParseAddrPort("0.0.0.0:" + port)
		if err != nil {
			return nil, fmt.Errorf("listener %v: %w", l, errBadAddr)
		}
		return []netip.AddrPort{four, netip.AddrPortFrom(netip.IPv6Unspecified(), four.Port())}, nil
	}
	a, err := netip.ParseAddrPort(l.Addr)
	if err != nil {
		return nil, fmt.Errorf("listener %v: %w", l, errBadAddr)
	}
	return []netip.AddrPort{netip.AddrPortFrom(a.Addr().Unmap(), a.Port())}, nil
}

var errBadAddr = errors.New("want IP:port or :port")
