package portmap

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	natpmp "github.com/jackpal/go-nat-pmp"
)

// pmpWait is how long a router may take to answer.
const pmpWait = time.Second

// pmp is a router that speaks NAT-PMP (RFC 6886).
type pmp struct {
	at     netip.Addr
	client *natpmp.Client
}

// findPMP asks the default gateway.
func findPMP(ctx context.Context) (Router, error) {
	at, err := defaultGateway()
	if err != nil {
		return nil, err
	}
	return pmpAt(ctx, at)
}

func pmpAt(ctx context.Context, at netip.Addr) (Router, error) {
	r := pmp{at, natpmp.NewClientWithTimeout(net.IP(at.AsSlice()), pmpWait)}
	_, err := r.External(ctx)
	return r, err
}

func (r pmp) Name() string { return "NAT-PMP at " + r.at.String() }

func (r pmp) External(ctx context.Context) (netip.Addr, error) {
	if err := ctx.Err(); err != nil {
		return netip.Addr{}, err
	}
	answer, err := r.client.GetExternalAddress()
	if err != nil {
		return netip.Addr{}, r.explain(err)
	}
	return netip.AddrFrom4(answer.ExternalIPAddress), nil
}

func (r pmp) Map(ctx context.Context, p Port, lifetime time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	n := int(p.Number)
	answer, err := r.client.AddPortMapping(p.Protocol, n, n, int(lifetime/time.Second))
	if err != nil {
		return r.explain(err)
	}
	if int(answer.MappedExternalPort) != n {
		// The router gives another one where somebody has this (section 3.3); clients are
		// told this number, so another is of no use.
		r.client.AddPortMapping(p.Protocol, n, 0, 0)
		return errors.New("somebody else in this network has it; the router offers only another port")
	}
	return nil
}

// Unmap asks for a lifetime of 0 (RFC 6886 section 3.4).
func (r pmp) Unmap(ctx context.Context, p Port) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	_, err := r.client.AddPortMapping(p.Protocol, int(p.Number), 0, 0)
	return r.explain(err)
}

// explain makes a silent router recognizable.
func (r pmp) explain(err error) error {
	var refused net.Error
	if err == nil || errors.As(err, &refused) || err.Error() == "Timed out trying to contact gateway" {
		if err == nil {
			return nil
		}
		return fmt.Errorf("%s: %w", r.at, errSilent)
	}
	return err
}
