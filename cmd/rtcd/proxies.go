package main

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"rtcd/config"
)

// clientAddress tells whom a request comes from. Only a trusted proxy is believed when it
// says for whom it asks: each proxy appends the address that it sees, so the last one
// which is no proxy of ours is the client's; what stands before it anybody may have made up.
func clientAddress(trusted []config.Network) func(*http.Request) string {
	return func(r *http.Request) string {
		remote, err := netip.ParseAddrPort(r.RemoteAddr)
		if err != nil {
			return r.RemoteAddr // of a unix socket
		}
		client := remote.Addr().Unmap()
		hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
		for _, hop := range slices.Backward(hops) {
			if !isTrusted(trusted, client) {
				break
			}
			before, err := netip.ParseAddr(strings.TrimSpace(hop))
			if err != nil {
				break
			}
			client = before.Unmap().WithZone("")
		}
		return client.String()
	}
}

func isTrusted(trusted []config.Network, a netip.Addr) bool {
	return slices.ContainsFunc(trusted, func(n config.Network) bool { return n.Contains(a) })
}

func networks(list []config.Network) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, n := range list {
		out[i] = n.Prefix
	}
	return out
}
