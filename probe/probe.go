package probe

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/pion/logging"
	"github.com/pion/stun/v3"
	"github.com/pion/transport/v4"
	"github.com/pion/transport/v4/stdnet"
	"github.com/pion/turn/v4"
)

// Options say who probes and how. Zero values mean the defaults in parentheses.
type Options struct {
	Username, Credential string
	Timeout              time.Duration                                                        // of each step (8 s)
	Packets              int                                                                  // to echo (50)
	Interval             time.Duration                                                        // between them (20 ms)
	Size                 int                                                                  // bytes of each, at least 16 (200)
	Throughput           time.Duration                                                        // how long to measure it (not at all)
	Roots                *x509.CertPool                                                       // for tls and dtls (the system's)
	Insecure             bool                                                                 // do not verify certificates, only report
	Inbound              bool                                                                 // over UDP, send to the relay's ports from outside as well
	AnyAuthority         bool                                                                 // verify names and dates, but an authority that this machine does not trust is only noted
	Dial                 func(ctx context.Context, network, address string) (net.Conn, error) // for tcp and tls (net.Dialer's)
	Address              string                                                               // connect to this host instead of the URL's; certificates are still checked against the URL's
}

func (o Options) withDefaults() Options {
	o.Timeout = cmp.Or(o.Timeout, 8*time.Second)
	o.Packets = cmp.Or(o.Packets, 50)
	o.Interval = cmp.Or(o.Interval, 20*time.Millisecond)
	o.Size = max(cmp.Or(o.Size, 200), minPacket)
	return o
}

var errSilence = errors.New("no answer")

// Run probes one target. What goes wrong is in the Report.
func Run(ctx context.Context, t Target, o Options) *Report {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	p := &prober{target: t, o: o.withDefaults(), refused: cancel, report: &Report{URL: t.URL, Transport: t.Transport, Steps: []Step{}}}
	defer p.close()
	p.report.OK = p.run(ctx)
	return p.report
}

// prober is one run; a single goroutine uses it.
type prober struct {
	target  Target
	o       Options
	report  *Report
	refused func(error) // ends the run: the server's port is closed
	closers []func()
}

func (p *prober) close() {
	for i := len(p.closers) - 1; i >= 0; i-- {
		p.closers[i]()
	}
}

func (p *prober) run(ctx context.Context) bool {
	var a, b *turn.Client
	var relayA, relayB net.PacketConn
	ok := p.step(ctx, "connect", func(ctx context.Context) (detail string, err error) {
		a, detail, err = p.client(ctx)
		p.report.Server = detail
		return detail, err
	}) && p.step(ctx, "binding", func(ctx context.Context) (string, error) {
		return p.binding(ctx, a)
	})
	if !ok || !p.target.TURN {
		return ok
	}
	return p.step(ctx, "allocate", func(ctx context.Context) (detail string, err error) {
		if relayA, err = allocate(ctx, a); err != nil {
			return "", err
		}
		p.closers = append(p.closers, func() { relayA.Close() })
		p.report.Relay = relayA.LocalAddr().String()
		p.judgeRelay()
		return p.report.Relay, nil
	}) && p.step(ctx, "permission", func(ctx context.Context) (detail string, err error) {
		if b, _, err = p.client(ctx); err != nil {
			return "", err
		}
		if relayB, err = allocate(ctx, b); err != nil {
			return "", err
		}
		p.closers = append(p.closers, func() { relayB.Close() })
		if err := permit(ctx, a, relayB.LocalAddr()); err != nil {
			return "", err
		}
		return relayB.LocalAddr().String(), permit(ctx, b, relayA.LocalAddr())
	}) && p.through(ctx, relayA, relayB) && (!p.o.Inbound || p.target.Transport != "udp" || p.step(ctx, "inbound", p.inbound))
}

// through has packets go from one relayed address to another.
func (p *prober) through(ctx context.Context, a, b net.PacketConn) bool {
	l := newLoop(a, b, p.o.Packets)
	defer l.close()
	return p.step(ctx, "echo", func(ctx context.Context) (string, error) { return p.echo(ctx, l) }) &&
		(p.o.Throughput <= 0 ||
			p.step(ctx, "throughput", func(ctx context.Context) (string, error) { return p.throughput(ctx, l) }))
}

// step runs one step and records how it went.
func (p *prober) step(ctx context.Context, name string, f func(context.Context) (string, error)) bool {
	limit := p.o.Timeout
	switch name {
	case "echo":
		limit += time.Duration(p.o.Packets) * p.o.Interval
	case "throughput":
		limit += p.o.Throughput
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	start := time.Now()
	detail, err := f(ctx)
	s := Step{Name: name, OK: err == nil, Millis: millis(time.Since(start)), Detail: detail}
	if err != nil {
		p.report.Problem = explain(name, p.target, err)
		s.Detail = p.report.Problem.Reason
	}
	p.report.Steps = append(p.report.Steps, s)
	return err == nil
}

// client connects and returns a TURN client, and the server's address.
func (p *prober) client(ctx context.Context) (*turn.Client, string, error) {
	conn, server, err := p.connect(ctx)
	if err != nil {
		return nil, "", err
	}
	c, err := p.over(conn, server)
	return c, server.String(), err
}

// over returns a client that speaks over conn, which it owns.
func (p *prober) over(conn net.PacketConn, server netip.AddrPort) (*turn.Client, error) {
	n, err := stdnet.NewNet()
	if err != nil {
		conn.Close()
		return nil, err
	}
	quiet := logging.NewDefaultLoggerFactory()
	quiet.DefaultLogLevel = logging.LogLevelDisabled
	c, err := turn.NewClient(&turn.ClientConfig{
		STUNServerAddr: server.String(), TURNServerAddr: server.String(),
		Username: p.o.Username, Password: p.o.Credential,
		Conn: conn, Net: fixedNet{n, net.UDPAddrFromAddrPort(server)}, LoggerFactory: quiet,
	})
	if err != nil {
		conn.Close()
		return nil, err
	}
	p.closers = append(p.closers, func() { c.Close(); conn.Close() })
	return c, c.Listen()
}

// fixedNet resolves every name to the server, which we resolved ourselves: the
// client would only take IPv4.
type fixedNet struct {
	transport.Net
	server *net.UDPAddr
}

func (n fixedNet) ResolveUDPAddr(string, string) (*net.UDPAddr, error) { return n.server, nil }

func (p *prober) binding(ctx context.Context, c *turn.Client) (string, error) {
	mapped, err := within(ctx, c, func() (net.Addr, error) { return c.SendBindingRequest() })
	if err != nil {
		return "", err
	}
	p.report.Mapped = mapped.String()
	return "the server sees us as " + p.report.Mapped, nil
}

func allocate(ctx context.Context, c *turn.Client) (net.PacketConn, error) {
	return within(ctx, c, c.Allocate)
}

func permit(ctx context.Context, c *turn.Client, peer net.Addr) error {
	_, err := within(ctx, c, func() (struct{}, error) { return struct{}{}, c.CreatePermission(peer) })
	return err
}

// within calls f, which waits for the server, for as long as ctx allows. Closing
// the client ends f's wait.
func within[T any](ctx context.Context, c *turn.Client, f func() (T, error)) (T, error) {
	type answer struct {
		v   T
		err error
	}
	done := make(chan answer, 1)
	// within owns it; the answer or the closing of the client ends it.
	go func() {
		var r answer
		defer func() {
			if fault := recover(); fault != nil { // of the client's library
				r.err = fmt.Errorf("panic: %v", fault)
			}
			done <- r
		}()
		r.v, r.err = f()
	}()
	select {
	case r := <-done:
		return r.v, plain(r.err)
	case <-ctx.Done():
		c.Close()
		<-done
		var zero T
		if cause := context.Cause(ctx); !errors.Is(cause, context.DeadlineExceeded) {
			return zero, cause
		}
		return zero, errSilence
	}
}

// plain makes "all retransmissions failed" what it is: no answer.
func plain(err error) error {
	var refusal *stun.TurnError
	if err == nil || errors.As(err, &refusal) {
		return err
	}
	return fmt.Errorf("%w (%w)", errSilence, err)
}

// judgeRelay notes a relayed address that others will not reach.
func (p *prober) judgeRelay() {
	relay, err1 := netip.ParseAddrPort(p.report.Relay)
	server, err2 := netip.ParseAddrPort(p.report.Server)
	if err1 != nil || err2 != nil {
		return
	}
	r, s := relay.Addr().Unmap(), server.Addr().Unmap()
	if (r.IsPrivate() || r.IsLoopback() || r.IsUnspecified()) && !s.IsPrivate() && !s.IsLoopback() {
		p.report.Notes = append(p.report.Notes, fmt.Sprintf(
			"the relayed address %s is private, others will not reach it: set turn.external_ip to the public address", r))
	}
}
