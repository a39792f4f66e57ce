package probe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"github.com/pion/dtls/v3"
	"github.com/pion/turn/v4"
)

// connect opens what the TURN client speaks over, and returns the server's address.
func (p *prober) connect(ctx context.Context) (net.PacketConn, netip.AddrPort, error) {
	host := p.target.Host
	if p.o.Address != "" {
		host = p.o.Address
	}
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, netip.AddrPort{}, err
	}
	var failed error
	for _, a := range addrs {
		server := netip.AddrPortFrom(a.Unmap(), uint16(p.target.Port))
		conn, err := p.open(ctx, server)
		if err == nil {
			return conn, server, nil
		}
		if failed == nil {
			failed = err
		}
	}
	if failed == nil {
		failed = fmt.Errorf("%s has no address", host)
	}
	return nil, netip.AddrPort{}, failed
}

func (p *prober) open(ctx context.Context, server netip.AddrPort) (net.PacketConn, error) {
	var d net.Dialer
	dial := p.o.Dial
	if dial == nil {
		dial = d.DialContext
	}
	switch p.target.Transport {
	case "tcp":
		conn, err := dial(ctx, "tcp", server.String())
		if err != nil {
			return nil, err
		}
		return turn.NewSTUNConn(conn), nil
	case "tls":
		conn, err := dial(ctx, "tcp", server.String())
		if err != nil {
			return nil, err
		}
		how := &tls.Config{
			ServerName: p.target.Host, RootCAs: p.o.Roots, InsecureSkipVerify: p.o.Insecure || p.o.AnyAuthority,
			MinVersion: tls.VersionTLS12,
		}
		if p.o.AnyAuthority {
			how.VerifyConnection = func(s tls.ConnectionState) error { return p.verify(s.PeerCertificates) }
		}
		secured := tls.Client(conn, how)
		if err := secured.HandshakeContext(ctx); err != nil {
			conn.Close()
			return nil, err
		}
		return turn.NewSTUNConn(secured), nil
	case "dtls":
		return p.openDTLS(ctx, server)
	}
	// Connected, so that a closed port shows at once (ICMP) instead of as silence.
	conn, err := d.DialContext(ctx, "udp", server.String())
	if err != nil {
		return nil, err
	}
	return datagrams{conn, p.refused}, nil
}

func (p *prober) openDTLS(ctx context.Context, server netip.AddrPort) (net.PacketConn, error) {
	socket, err := net.ListenUDP("udp", nil)
	if err != nil {
		return nil, err
	}
	options := []dtls.ClientOption{
		dtls.WithServerName(p.target.Host), dtls.WithRootCAs(p.o.Roots),
		dtls.WithInsecureSkipVerify(p.o.Insecure || p.o.AnyAuthority),
	}
	if p.o.AnyAuthority {
		options = append(options, dtls.WithVerifyPeerCertificate(func(raw [][]byte, _ [][]*x509.Certificate) error {
			return p.verifyRaw(raw)
		}))
	}
	conn, err := dtls.ClientWithOptions(socket, net.UDPAddrFromAddrPort(server), options...)
	if err == nil {
		err = conn.HandshakeContext(ctx)
	}
	if err != nil {
		socket.Close()
		return nil, err
	}
	return datagrams{conn, p.refused}, nil
}

// datagrams is a connection to one server as the PacketConn that the client wants.
// The client keeps waiting when a read fails, so refused is called with the reason.
type datagrams struct {
	net.Conn
	refused func(error)
}

func (d datagrams) ReadFrom(b []byte) (int, net.Addr, error) {
	n, err := d.Read(b)
	if errors.Is(err, syscall.ECONNREFUSED) {
		d.refused(err)
	}
	return n, d.RemoteAddr(), err
}

func (d datagrams) WriteTo(b []byte, _ net.Addr) (int, error) { return d.Write(b) }

// verify checks a server's certificate as a browser does, but for the authority: one
// that this machine does not trust is noted, for the clients may trust it.
func (p *prober) verify(chain []*x509.Certificate) error {
	if len(chain) == 0 {
		return errNoCertificate
	}
	leaf := chain[0]
	how := x509.VerifyOptions{DNSName: p.target.Host, Roots: p.o.Roots, Intermediates: x509.NewCertPool()}
	for _, c := range chain[1:] {
		how.Intermediates.AddCert(c)
	}
	_, err := leaf.Verify(how)
	var unknown x509.UnknownAuthorityError
	if err == nil || !errors.As(err, &unknown) {
		return err
	}
	// The last of the chain stands for the authority; a name or a date may still be wrong.
	how.Roots = x509.NewCertPool()
	how.Roots.AddCert(chain[len(chain)-1])
	if _, err := leaf.Verify(how); err != nil && !errors.As(err, &unknown) {
		return err
	}
	p.report.Notes = append(p.report.Notes, "the certificate is of an authority that this machine does not know: "+leaf.Issuer.String())
	return nil
}

var errNoCertificate = errors.New("the server has shown no certificate")

func (p *prober) verifyRaw(raw [][]byte) error {
	chain := make([]*x509.Certificate, len(raw))
	for i := range raw {
		var err error
		if chain[i], err = x509.ParseCertificate(raw[i]); err != nil {
			return err
		}
	}
	return p.verify(chain)
}
