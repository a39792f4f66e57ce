package main

import (
	"math"
	"net/netip"
	"time"

	"rtcd/config"
	"rtcd/signaling"
	"rtcd/turnsrv"
	"rtcd/turnsrv/relay"
)

// policyOf is what the configuration says about the relay. In the file 0 means
// unlimited, in relay.Limits a negative number does.
func policyOf(c *config.Loaded, addrs []external) relay.Policy {
	l := c.Turn.Limits
	p := relay.Policy{
		MinPort: c.Turn.RelayPorts.Min, MaxPort: c.Turn.RelayPorts.Max,
		PortRest:     orNone(time.Duration(c.Turn.PortRest)),
		Allow:        prefixes(c.Turn.Peers.Allow),
		Deny:         prefixes(c.Turn.Peers.Deny),
		StrictExpiry: c.Turn.StrictExpiry,
		Limits: relay.Limits{
			AllocationsPerUser: orNone(int(l.AllocationsPerUser)),
			AllocationsPerIP:   orNone(int(l.AllocationsPerIP)),
			Allocations:        orNone(int(l.Allocations)),
			Permissions:        orNone(int(l.Permissions)),
			Channels:           orNone(int(l.Channels)),
			Bandwidth:          orNone(int64(l.BandwidthPerAllocation)),
			Packets:            orNone(int64(l.PacketsPerAllocation)),
			NewPeers:           rate(l.NewPeersPerAllocation),
			Unauthenticated:    rate(l.UnauthenticatedPerIP),
			FailedLogins:       rate(l.FailedLoginsPerIP),
		},
	}
	for _, a := range addrs {
		p.Relays = append(p.Relays, a.RelayIP)
	}
	for _, e := range c.Drain.Alternate {
		p.Alternates = append(p.Alternates, e.AddrPort())
	}
	for _, u := range l.Users {
		if p.Users == nil {
			p.Users = map[string]relay.UserLimits{}
		}
		p.Users[u.Name] = relay.UserLimits{
			Allocations:      orOthers(int(u.Allocations)),
			AllocationsPerIP: orOthers(int(u.AllocationsPerIP)),
			Bandwidth:        orOthers(int64(u.Bandwidth)),
		}
	}
	return p
}

// orOthers turns what the file does not say of a user into the options' zero, what
// everybody has.
func orOthers[T int | int64](n T) T {
	if n == config.AsOthers {
		return 0
	}
	return orNone(n)
}

// policy is policyOf what is in force. Nobody reaches our own HTTP through the relay.
func (a *app) policy() relay.Policy {
	p := policyOf(a.config, a.externals)
	for _, s := range []*httpServer{a.https, a.http, a.admin} {
		p.Own = append(p.Own, s.addrs()...)
	}
	return p
}

// orNone turns the file's 0 into the options' "unlimited".
func orNone[T int | int64 | time.Duration](n T) T {
	if n == 0 {
		return -1
	}
	return n
}

func rate(r config.Rate) relay.Rate {
	if r.N == 0 {
		return relay.Rate{N: -1}
	}
	return relay.Rate{N: r.N, Per: r.Per}
}

// prefixes is never nil: an empty list denies nothing, nil means the default.
func prefixes(rules []config.PeerRule) []netip.Prefix {
	out := []netip.Prefix{}
	for _, r := range rules {
		if p, ok := r.Prefix(); ok {
			out = append(out, p)
		} else if r == config.PeersRecommended {
			out = append(out, relay.RecommendedDeny()...)
		}
	}
	return out
}

func connectionLimits(c *config.Loaded) turnsrv.Limits {
	return turnsrv.Limits{ConnectionsPerIP: orHuge(int(c.Turn.Limits.ConnectionsPerIP))}
}

func hubLimits(c *config.Loaded) signaling.Limits {
	l := c.Signaling.Limits
	out := signaling.Limits{
		MessageBytes: orHuge(int(l.MessageBytes)),
		Rate:         math.MaxInt32,
		Burst:        orHuge(int(l.Burst)),
		Queue:        orHuge(int(l.Queue)),
		Members:      orHuge(int(c.Signaling.MaxMembers)),
	}
	if l.Messages.N > 0 {
		out.Rate = float64(l.Messages.N) / l.Messages.Per.Seconds()
	} else { // nor is there one for their bytes
		out.ByteRate, out.ByteBurst = math.MaxInt32, math.MaxInt32
	}
	return out
}

// orHuge turns the file's 0 into a number that nothing reaches.
func orHuge(n int) int {
	if n == 0 {
		return math.MaxInt32
	}
	return n
}
