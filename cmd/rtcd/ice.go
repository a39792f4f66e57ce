package main

import (
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"rtcd/config"
	"rtcd/creds"
	"rtcd/signaling"
)

// killer ends the live allocations of a user; *turnsrv.Server does it.
type killer interface {
	KillUser(user, reason string) int
}

// minter hands out ICE servers with credentials for this server's relay. It joins
// the hub to the relay: it is the hub's signaling.ICE. Its fields do not change:
// a reload makes another one.
type minter struct {
	keys       *creds.Keys
	stun, turn []string // URLs that are handed out
	advertised []string // those and what the self-test has found down
	ttl        time.Duration
	longest    time.Duration          // that credentials of this process may live
	restrict   bool                   // members' credentials only reach this relay itself
	issued     *prometheus.CounterVec // may be nil
	relay      killer
	log        *slog.Logger
}

// member is the user part of a hub member's credentials.
func (m *minter) member(id string) string { return m.users(id)[0] }

// users are that, and what it was when the minter before this one restricted and this
// one does not, or the other way round.
func (m *minter) users(id string) [2]string {
	if m.restrict {
		return [2]string{creds.PrefixRestricted + id, id}
	}
	return [2]string{id, creds.PrefixRestricted + id}
}

// Mint returns ICE servers for a member.
func (m *minter) Mint(member string) signaling.ICEServers {
	m.issue(shapeHub)
	_, servers := m.mint(m.member(member), m.ttl)
	return servers
}

// Revoke makes a member's credentials worthless and ends its allocations.
func (m *minter) Revoke(member string) {
	for _, user := range m.users(member) {
		// The youngest credential was minted at most now.
		m.keys.Revoke(user, time.Now().Add(max(m.ttl, m.longest)+time.Second))
		if n := m.relay.KillUser(user, "revoked"); n > 0 {
			m.log.Info("allocations of a removed member ended", "user", user, "allocations", n)
		}
	}
}

func (m *minter) mint(user string, ttl time.Duration) (creds.Credential, signaling.ICEServers) {
	c := m.keys.Issue(user, ttl, time.Now())
	return c, signaling.ICEServers{TTL: ttl, Servers: iceServers(m.stun, m.turn, c)}
}

// iceServers is what new RTCPeerConnection wants. Only the TURN entry carries the
// credentials.
func iceServers(stun, turn []string, c creds.Credential) []signaling.ICEServer {
	servers := []signaling.ICEServer{}
	if len(stun) > 0 {
		servers = append(servers, signaling.ICEServer{URLs: stun})
	}
	if len(turn) > 0 {
		servers = append(servers, signaling.ICEServer{URLs: turn, Username: c.Username, Credential: c.Password})
	}
	return servers
}

// endpoints are the ports that clients use.
type endpoints struct {
	turn, turns []uint16 // UDP and TCP; TLS
}

// configuredEndpoints are those that the configuration names. Port 0, any free one,
// is known only to the running server.
func configuredEndpoints(c *config.Loaded) endpoints {
	ports := func(list []config.Address) (out []uint16) {
		for _, a := range list {
			if port := a.AddrPort().Port(); port != 0 {
				out = appendNew(out, port)
			}
		}
		return out
	}
	return endpoints{turn: ports(c.Listen.Turn), turns: ports(c.Listen.Turns)}
}

func appendNew(list []uint16, port uint16) []uint16 {
	for _, p := range list {
		if p == port {
			return list
		}
	}
	return append(list, port)
}

// iceURLs returns what browsers are told. turns: is left out in self-signed mode,
// since no browser would accept the certificate.
func iceURLs(c *config.Loaded, e endpoints, addrs []external) (stun, turn []string) {
	if len(c.Turn.URLs) > 0 {
		return writtenURLs(c.Turn.URLs)
	}
	for _, host := range hosts(c, addrs) {
		for _, p := range e.turn {
			at := net.JoinHostPort(host, strconv.Itoa(int(p)))
			stun = append(stun, "stun:"+at)
			turn = append(turn, "turn:"+at+"?transport=udp", "turn:"+at+"?transport=tcp")
		}
		if mode := c.TLSMode(); mode != config.TLSSelfSigned && mode != config.TLSOff {
			for _, p := range e.turns {
				turn = append(turn, "turns:"+net.JoinHostPort(host, strconv.Itoa(int(p)))+"?transport=tcp")
			}
		}
	}
	return stun, turn
}

// writtenURLs are those of turn.urls.
func writtenURLs(list []config.ICEURL) (stun, turn []string) {
	for _, u := range list {
		if u.STUN() {
			stun = append(stun, string(u))
		} else {
			turn = append(turn, string(u))
		}
	}
	return stun, turn
}

// hosts is how others call this machine: the domain, else the first external address of
// each family.
func hosts(c *config.Loaded, addrs []external) []string {
	if c.Domain != "" {
		return []string{c.Domain}
	}
	var out []string
	seen := [2]bool{} // IPv4, IPv6
	for _, a := range addrs {
		if f := a.Public.BitLen() / 128; !seen[f] {
			seen[f] = true
			out = append(out, a.Public.String())
		}
	}
	if len(out) == 0 {
		out = []string{netip.AddrFrom4([4]byte{127, 0, 0, 1}).String()}
	}
	return out
}
