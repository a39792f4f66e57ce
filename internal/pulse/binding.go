package pulse

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"github.com/pion/stun/v3"
)

// Unable is why a server could not be asked.
type Unable struct{ error }

// Unwrap returns the cause.
func (u Unable) Unwrap() error { return u.error }

// errSilent is the verdict on a server that does not answer.
var errSilent = errors.New("no answer")

// Dial connects as net.Dialer's DialContext does, which a nil one stands for.
type Dial func(ctx context.Context, network, address string) (net.Conn, error)

func (d Dial) to(ctx context.Context, network, address string) (net.Conn, error) {
	if d == nil {
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	return d(ctx, network, address)
}

// again is how often an unanswered request is sent again: a full buffer is no silence.
const again = 250 * time.Millisecond

// Binding sends STUN Binding requests (RFC 8489 section 2) to a listener on this machine,
// over "udp" or "tcp", from so many sockets at once: where several of the server's
// sockets share a port, each client's address leads to one of them. All have to be
// answered.
func Binding(ctx context.Context, network string, to netip.AddrPort, sockets int, dial Dial) error {
	to = here(to)
	done := make(chan error, sockets)
	for range sockets {
		// Binding owns it and waits for it; ctx ends it.
		go func() { done <- bind(ctx, network, to, dial) }()
	}
	var failed error
	for range sockets {
		err := <-done
		var unable Unable
		if failed == nil || errors.As(failed, &unable) && err != nil { // silence counts most
			failed = err
		}
	}
	if failed != nil {
		return fmt.Errorf("STUN at %s/%s: %w", to, network, failed)
	}
	return nil
}

// here is a listener's address for clients on this machine.
func here(a netip.AddrPort) netip.AddrPort {
	switch ip := a.Addr(); {
	case !ip.IsUnspecified():
		return a
	case ip.Is4():
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), a.Port())
	}
	return netip.AddrPortFrom(netip.IPv6Loopback(), a.Port())
}

// bind sends one request, over and over on UDP, until it is answered.
func bind(ctx context.Context, network string, to netip.AddrPort, dial Dial) error {
	conn, err := dial.to(ctx, network, to.String())
	if err != nil {
		return judged(ctx, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()
	request := stun.MustBuild(stun.TransactionID, stun.BindingRequest)
	buf := make([]byte, 1500)
	for ctx.Err() == nil {
		if _, err := conn.Write(request.Raw); err != nil {
			return judged(ctx, err)
		}
		for until := time.Now().Add(again); ctx.Err() == nil; {
			if network == "udp" {
				conn.SetReadDeadline(until)
			}
			n, err := conn.Read(buf)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			} else if err != nil {
				return judged(ctx, err)
			}
			answer := stun.Message{Raw: buf[:n]}
			if answer.Decode() == nil && answer.TransactionID == request.TransactionID {
				return nil
			}
		}
	}
	return errSilent
}

// judged tells what an error says of the server.
func judged(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil, errors.Is(err, os.ErrDeadlineExceeded):
		return errSilent
	case errors.Is(err, syscall.ECONNREFUSED):
		return errors.New("the port is closed")
	}
	return Unable{err}
}
