package mux

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	proxyproto "github.com/pires/go-proxyproto"
)

// Proxies are the addresses whose connections begin with a PROXY header and are their
// clients'. A nil Proxies trusts nobody.
//
// From a trusted address the header must be there: who trusts a proxy that sends none would
// take all its clients for one. What comes from elsewhere is no proxy's: a header is not
// HTTP, TLS or TURN, and refused as such. LOCAL (version 2), UNKNOWN (version 1) and a header
// without addresses mean that the proxy speaks for itself, to see whether we live.
type Proxies struct {
	trusted []netip.Prefix
	log     *slog.Logger
	told    atomic.Int64 // when a missing header was told last, Unix seconds
}

// NewProxies returns those of a list, nil if it is empty.
func NewProxies(trusted []netip.Prefix, log *slog.Logger) *Proxies {
	if len(trusted) == 0 {
		return nil
	}
	return &Proxies{trusted: trusted, log: log}
}

// Trusts tells whether connections from an address come through a proxy.
func (p *Proxies) Trusts(a net.Addr) bool {
	if p == nil {
		return false
	}
	at, ok := a.(*net.TCPAddr)
	if !ok {
		return false
	}
	ip := at.AddrPort().Addr().Unmap().WithZone("")
	return slices.ContainsFunc(p.trusted, func(n netip.Prefix) bool { return n.Contains(ip) })
}

// Introduce returns the connection as its client's, if it comes through a proxy. It reads the
// header and no byte more, by the deadline that the connection has. A connection without a
// header that can be used is to be closed.
func (p *Proxies) Introduce(nc net.Conn) (net.Conn, error) {
	if !p.Trusts(nc.RemoteAddr()) {
		return nc, nil
	}
	client, err := readHeader(nc)
	if err != nil {
		p.warn(nc, err)
		return nil, err
	}
	if client == nil {
		return nc, nil
	}
	return &proxied{nc, client}, nil
}

// Dial connects to a listener of our own: from an address that is a proxy's it says, as a
// proxy does, that it speaks for itself.
func (p *Proxies) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	nc, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil || !p.Trusts(nc.LocalAddr()) {
		return nc, err
	}
	if _, err := nc.Write(localHeader); err != nil {
		nc.Close()
		return nil, err
	}
	return nc, nil
}

// localHeader is version 2's LOCAL without addresses.
var localHeader = append(bytes.Clone(signatureV2), 0x20, 0, 0, 0)

// tellEvery is the seconds between two lines about missing headers.
const tellEvery = 10

// warn tells of a missing header, which is a mistake of whoever set up the proxy.
func (p *Proxies) warn(nc net.Conn, err error) {
	if errors.Is(err, io.EOF) {
		return // a look whether we live, or nothing
	}
	last, now := p.told.Load(), time.Now().Unix()
	if now-last >= tellEvery && p.told.CompareAndSwap(last, now) {
		p.log.Warn("a proxy of listen.proxy_protocol sends no PROXY header; switch it on there, or take its address off that list",
			"proxy", nc.RemoteAddr().String(), "error", err)
	}
}

// Sizes of a header in bytes.
const (
	shortestHeader = 12  // that version 2's signature is in, and version 1's "PROXY "
	longestV1      = 107 // with its CR LF
	fixedV2        = 16
	longestV2      = 2048 // ours; addresses and a certificate's names fit
)

var (
	signatureV1 = []byte("PROXY ")
	signatureV2 = []byte("\r\n\r\n\x00\r\nQUIT\n")
)

// readHeader reads a PROXY header and nothing after it. It returns the client's address, nil
// if the proxy speaks for itself.
func readHeader(r io.Reader) (net.Addr, error) {
	b := make([]byte, shortestHeader, fixedV2)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, fmt.Errorf("PROXY header: %w", err)
	}
	var err error
	switch {
	case bytes.Equal(b, signatureV2):
		b, err = restOfV2(r, b)
	case bytes.HasPrefix(b, signatureV1):
		b, err = restOfV1(r, b)
	default:
		err = errNoHeader
	}
	if err != nil {
		return nil, err
	}
	h, err := proxyproto.Read(bufio.NewReader(bytes.NewReader(b)))
	if err != nil {
		return nil, err
	}
	return clientOf(h)
}

var errNoHeader = errors.New("the connection does not begin with a PROXY header")

func restOfV1(r io.Reader, b []byte) ([]byte, error) {
	for !bytes.HasSuffix(b, []byte("\r\n")) {
		if len(b) == longestV1 {
			return nil, errors.New("PROXY header: no end of line")
		}
		b = append(b, 0)
		if _, err := io.ReadFull(r, b[len(b)-1:]); err != nil {
			return nil, fmt.Errorf("PROXY header: %w", err)
		}
	}
	return b, nil
}

func restOfV2(r io.Reader, b []byte) ([]byte, error) {
	b = b[:fixedV2]
	if _, err := io.ReadFull(r, b[shortestHeader:]); err != nil {
		return nil, fmt.Errorf("PROXY header: %w", err)
	}
	n := int(binary.BigEndian.Uint16(b[fixedV2-2:]))
	if n > longestV2 {
		return nil, fmt.Errorf("PROXY header of %d bytes", n)
	}
	b = append(b, make([]byte, n)...)
	if _, err := io.ReadFull(r, b[fixedV2:]); err != nil {
		return nil, fmt.Errorf("PROXY header: %w", err)
	}
	return b, nil
}

// clientOf is whom a header speaks for.
func clientOf(h *proxyproto.Header) (net.Addr, error) {
	if h.Command.IsLocal() || h.TransportProtocol.IsUnspec() {
		return nil, nil
	}
	a, ok := h.SourceAddr.(*net.TCPAddr)
	if !ok || !h.TransportProtocol.IsStream() {
		return nil, fmt.Errorf("PROXY header for %v, want TCP over IP", h.SourceAddr)
	}
	ip := a.AddrPort().Addr().Unmap()
	if !ip.IsValid() || ip.IsUnspecified() || a.Port == 0 {
		return nil, fmt.Errorf("PROXY header for %v, which is nobody", a)
	}
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(ip, uint16(a.Port))), nil
}
