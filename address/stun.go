package address

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/pion/stun/v3"
)

// LookupFunc finds the addresses of a name.
type LookupFunc func(ctx context.Context, name string) ([]netip.Addr, error)

// Lookup asks the system's resolver.
func Lookup(ctx context.Context, name string) ([]netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", name)
	for i := range addrs {
		addrs[i] = addrs[i].Unmap()
	}
	return addrs, err
}

// stunWait is how long STUN servers may take, and when requests are sent within it (RFC
// 8489 section 6.2.1, without the tail).
const stunWait = 3 * time.Second

var stunSends = []time.Duration{0, 500 * time.Millisecond, 1500 * time.Millisecond}

// askSTUN asks servers, HOST:PORT, from which address our packets reach them; want says
// over which families, IPv4 and IPv6. It also returns who did not tell, and why.
func askSTUN(ctx context.Context, servers []string, want [2]bool, lookup LookupFunc) (claims []Claim, silent []string) {
	ctx, cancel := context.WithTimeout(ctx, stunWait)
	defer cancel()
	addrs := make([][]netip.Addr, len(servers))
	errs := make([]error, len(servers))
	parallel(len(servers), func(i int) {
		errs[i] = errors.New("the resolver broke down") // unless it returns
		addrs[i], errs[i] = hostAddrs(ctx, servers[i], lookup)
	})
	var rounds [2]stunRound
	parallel(2, func(f int) {
		if want[f] {
			rounds[f] = stunRound{is4: f == 0}
			rounds[f].run(ctx, servers, addrs)
		}
	})
	for f, r := range rounds {
		slices.SortFunc(r.claims, func(x, y Claim) int { // whoever was first: the same words each time
			return cmp.Compare(slices.Index(servers, x.By), slices.Index(servers, y.By))
		})
		claims = append(claims, r.claims...)
		for i, server := range servers {
			switch {
			case !want[f] || f == 1: // IPv6 behind a NAT is rare enough to keep quiet
			case errs[i] != nil:
				silent = append(silent, fmt.Sprintf("%s: %v", server, errs[i]))
			case !r.told(server):
				silent = append(silent, server+" did not answer")
			}
		}
	}
	return claims, silent
}

// hostAddrs are the addresses of the host of HOST:PORT.
func hostAddrs(ctx context.Context, server string, lookup LookupFunc) ([]netip.Addr, error) {
	host, _, err := net.SplitHostPort(server)
	if err != nil {
		return nil, err
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{addr.Unmap()}, nil
	}
	return lookup(ctx, host)
}

// stunRound asks all servers over one family from one socket.
type stunRound struct {
	is4     bool
	claims  []Claim
	waiting map[[stun.TransactionIDSize]byte]asked
}

type asked struct {
	server string
	at     netip.AddrPort
	packet []byte
}

func (r *stunRound) told(server string) bool {
	for _, c := range r.claims {
		if c.By == server {
			return true
		}
	}
	return false
}

func (r *stunRound) run(ctx context.Context, servers []string, addrs [][]netip.Addr) {
	network := "udp6"
	if r.is4 {
		network = "udp4"
	}
	r.waiting = map[[stun.TransactionIDSize]byte]asked{}
	for i, server := range servers {
		_, port, _ := net.SplitHostPort(server)
		n, err := strconv.ParseUint(port, 10, 16)
		addr := firstOf(addrs[i], r.is4, netip.Addr.IsValid)
		if err != nil || !addr.IsValid() {
			continue
		}
		m := stun.MustBuild(stun.TransactionID, stun.BindingRequest, stun.Fingerprint)
		r.waiting[m.TransactionID] = asked{server, netip.AddrPortFrom(addr, uint16(n)), m.Raw}
	}
	conn, err := net.ListenUDP(network, nil)
	if err != nil {
		return
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) })()
	start := time.Now()
	for i := range stunSends {
		for _, a := range r.waiting {
			conn.WriteToUDPAddrPort(a.packet, a.at) // a lost one is sent again
		}
		until := start.Add(stunWait)
		if i+1 < len(stunSends) {
			until = start.Add(stunSends[i+1])
		}
		conn.SetReadDeadline(until)
		if r.read(conn); len(r.waiting) == 0 || ctx.Err() != nil {
			return
		}
	}
}

// read takes answers until the deadline or until all are there.
func (r *stunRound) read(conn *net.UDPConn) {
	buf := make([]byte, 1500)
	for len(r.waiting) > 0 {
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, net.ErrClosed) {
				return
			}
			continue // an ICMP error of one server
		}
		r.answer(buf[:n], netip.AddrPortFrom(from.Addr().Unmap(), from.Port()))
	}
}

// answer takes the answer of the server that was asked, nobody else's.
func (r *stunRound) answer(packet []byte, from netip.AddrPort) {
	m := stun.Message{Raw: packet}
	if m.Decode() != nil || m.Type != stun.BindingSuccess {
		return
	}
	a, ok := r.waiting[m.TransactionID]
	if !ok || a.at != from {
		return
	}
	ip, ok := mappedAddress(&m)
	if !ok || ip.Is4() != r.is4 {
		return
	}
	delete(r.waiting, m.TransactionID)
	r.claims = append(r.claims, Claim{STUN, a.server, ip})
}

// mappedAddress reads XOR-MAPPED-ADDRESS (RFC 8489 section 14.2), else what servers of
// RFC 3489 send.
func mappedAddress(m *stun.Message) (netip.Addr, bool) {
	var xor stun.XORMappedAddress
	if xor.GetFrom(m) == nil {
		a, ok := netip.AddrFromSlice(xor.IP)
		return a.Unmap(), ok
	}
	var plain stun.MappedAddress
	if plain.GetFrom(m) == nil {
		a, ok := netip.AddrFromSlice(plain.IP)
		return a.Unmap(), ok
	}
	return netip.Addr{}, false
}
