package main

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"rtcd/config"
	"rtcd/creds"
	"rtcd/signaling"
	"rtcd/turnsrv/relay"
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
	https       uint16   // TLS and UDP, where the others are; 0 = off
	http        uint16   // TCP, 0 = off
	trusted     bool     // browsers accept the certificate
	paired      bool     // UDP and TCP on one port, for programs that ask for one
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
	first := func(list []config.Address) uint16 { return append(ports(list), 0)[0] }
	return endpoints{
		turn: ports(c.Listen.Turn), turns: ports(c.Listen.Turns),
		https: onlyIf(isBeside(c), first(c.Listen.HTTPS)), http: first(c.Listen.HTTP), trusted: hasTrusted(c),
	}
}

// endpoints are those of the running server.
func (a *app) endpoints() endpoints {
	return endpoints{
		turn: a.ports(relay.TCP), turns: a.ports(relay.TLS),
		https: onlyIf(isBeside(a.config), uint16(a.https.port())), http: uint16(a.http.port()), trusted: a.cert.trusted(),
	}
}

// isBeside tells whether https is on the addresses that the relay's listeners are on, so that
// who finds one finds the other.
func isBeside(c *config.Loaded) bool {
	for _, web := range c.Listen.HTTPS {
		elsewhere := func(a config.Address) bool { return a.AddrPort().Addr() != web.AddrPort().Addr() }
		if web.AddrPort().Addr().IsUnspecified() || !slices.ContainsFunc(slices.Concat(c.Listen.Turn, c.Listen.Turns), elsewhere) {
			return true
		}
	}
	return false
}

func onlyIf(is bool, port uint16) uint16 {
	if !is {
		return 0
	}
	return port
}

// webPort is the port that networks let through when they let through anything.
const webPort = 443

// ports returns those to name for each transport. Browsers complain from five URLs on that it
// takes long to try them all, so what adds no way is left out: https's port, where it is the
// web's, stands in for the first of TLS, and where it is not, only for one that is not there; and
// a client that reaches TLS has no need for plain TCP on http's. Over UDP the web's port comes
// beside the usual one: there are networks that block the one, and networks that block the other.
func (e endpoints) ports() (tls, udp, tcp []uint16) {
	others := func(list []uint16) []uint16 {
		return slices.DeleteFunc(slices.Clone(list), func(p uint16) bool { return p == webPort })
	}
	if e.trusted {
		switch {
		case e.https == webPort && len(e.turns) > 0:
			tls = append([]uint16{webPort}, others(e.turns[1:])...)
		case e.https != 0 && len(e.turns) == 0:
			tls = []uint16{e.https}
		default:
			tls = e.turns
		}
	}
	udp, tcp = e.turn, e.turn
	switch {
	case e.https == webPort && len(e.turn) > 0 && !e.paired:
		udp = append(others(e.turn), webPort)
	case e.https != 0 && len(e.turn) == 0:
		udp = []uint16{e.https}
	}
	if len(tcp) == 0 && len(tls) == 0 && e.http != 0 {
		tcp = []uint16{e.http}
	}
	return tls, udp, tcp
}

func appendNew(list []uint16, port uint16) []uint16 {
	for _, p := range list {
		if p == port {
			return list
		}
	}
	return append(list, port)
}

// iceURLs returns what browsers are told. turns: comes first, since it gets through most
// networks; it is left out while no browser would accept the certificate.
func iceURLs(c *config.Loaded, e endpoints, addrs []external) (stun, turn []string) {
	if len(c.Turn.URLs) > 0 {
		return writtenURLs(c.Turn.URLs)
	}
	tls, udp, tcp := e.ports()
	asked := e.turn
	if len(asked) == 0 {
		asked = udp
	}
	for _, host := range hosts(c, addrs) {
		at := func(format string, port uint16) string {
			return fmt.Sprintf(format, net.JoinHostPort(host, strconv.Itoa(int(port))))
		}
		for _, p := range asked {
			stun = append(stun, at("stun:%s", p))
		}
		for _, p := range tls {
			turn = append(turn, at("turns:%s?transport=tcp", p))
		}
		for i := range max(len(udp), len(tcp)) {
			if i < len(udp) {
				turn = append(turn, at("turn:%s?transport=udp", udp[i]))
			}
			if i < len(tcp) {
				turn = append(turn, at("turn:%s?transport=tcp", tcp[i]))
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
