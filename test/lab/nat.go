package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
)

// NATKind is how a router maps and filters UDP (RFC 4787, sections 4 and 5).
type NATKind string

// The kinds. A mapping is kept alive for 60 s by what goes out.
const (
	FullCone       NATKind = "full cone"       // one mapping per local port, open to everybody
	Restricted     NATKind = "restricted"      // one mapping per local port, open to addresses that were sent to
	PortRestricted NATKind = "port restricted" // one mapping per local port, open to addresses and ports that were sent to
	Symmetric      NATKind = "symmetric"       // a mapping per destination, open to it alone
)

// Rules for [NAT.Block]. They see the packets of both directions; the client's network is on the interface "lan".
const (
	BlockUDP  = "meta l4proto udp drop"
	OnlyTLS   = "meta l4proto != tcp drop\niifname \"lan\" tcp dport != 443 drop" // only TCP to port 443
	BlockAll  = "drop"
	BlockNone = ""
)

// outside is the interface of a gateway that leads to the core, inside the one to the next router or the client.
const (
	outside = "eth0"
	inside  = "lan"
)

// NAT is a home: a client behind one router or several, IPv4 alone. Its methods change what the client sees of the
// network while its programs run. They may not be called at the same time.
//
//	client 192.168.host.2 ── lan gateway eth0 ── (100.64.host.0/24, carrier) ── core, as 11.22.33.host
type NAT struct {
	// Client is where programs run. Its address changes with [NAT.Roam].
	Client *Node

	net      *Net
	gateways []*gateway // outermost first
	wire     *wire      // once Impair was called
}

// gateway is one router that translates.
type gateway struct {
	*Node
	kind  NATKind
	next  *Node // whom it serves
	block string

	forward []string // what it sends to whom it serves, of what comes from outside
}

// AddNAT makes a client behind a router of the given kind with the public address 11.22.33.host. With a second kind
// the first is a carrier's router and the second stands behind it, and so on.
func (n *Net) AddNAT(name string, host byte, kinds ...NATKind) (*NAT, error) {
	gate, err := n.Add(name+"-nat", host)
	if err != nil {
		return nil, err
	}
	s := &NAT{net: n}
	for i, kind := range kinds {
		g := &gateway{Node: gate, kind: kind}
		s.gateways = append(s.gateways, g)
		subnet, label := [3]byte{100, byte(64 + i), host}, fmt.Sprintf("%s-nat%d", name, i+1)
		if i == len(kinds)-1 {
			subnet, label = [3]byte{192, 168, host}, name
		}
		if gate, err = n.behind(g, label, subnet); err != nil {
			return nil, fmt.Errorf("lab: home %q: %w", name, err)
		}
	}
	s.Client = gate
	return s, n.writeHosts()
}

// behind makes the node that a gateway serves: .2 of the subnet, the gateway being .1.
func (n *Net) behind(g *gateway, name string, subnet [3]byte) (*Node, error) {
	at := func(host byte) string {
		return netip.AddrFrom4([4]byte{subnet[0], subnet[1], subnet[2], host}).String()
	}
	g.next = &Node{IP4: netip.MustParseAddr(at(2)), ns: nsName(name)}
	if err := addNamespace(g.next.ns); err != nil {
		return nil, err
	}
	n.nodes = append(n.nodes, g.next)
	return g.next, firstError(
		func() error { return sysctl(g.ns, "net.ipv4.ip_forward=1") },
		// Else a browser there would see its network change when the link-local address comes up, and drop what it loads.
		func() error {
			return sysctl(g.next.ns, "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1")
		},
		func() error {
			return g.ip("link", "add", inside, "type", "veth", "peer", "name", outside, "netns", g.next.ns)
		},
		func() error { return g.ip("addr", "add", at(1)+"/24", "dev", inside) },
		func() error { return g.ip("link", "set", inside, "up") },
		func() error { return g.next.ip("link", "set", "lo", "up") },
		func() error { return g.next.ip("addr", "add", at(2)+"/24", "dev", outside) },
		func() error { return g.next.ip("link", "set", outside, "up") },
		func() error { return g.next.ip("route", "add", "default", "via", at(1)) },
		g.apply,
	)
}

// apply loads the gateway's rules; the mappings that the sets hold are forgotten, those of conntrack are not.
//
// With the client's port kept, conntrack alone is a port-restricted NAT. The wider kinds remember in a set what the
// client has sent from, and let in what fits. What comes from outside for the gateway itself is dropped before
// conntrack keeps it: such an entry would take the port away from the client's own packets to the same peer.
func (g *gateway) apply() error {
	source, remember, admit := "snat to "+g.IP4.String(), "", ""
	switch g.kind {
	case Symmetric:
		source += " fully-random"
	case PortRestricted:
	case Restricted:
		remember = "update @seen { udp sport . ip daddr }"
		admit = "udp dport . ip saddr @seen dnat to " + g.next.IP4.String()
	case FullCone:
		remember = "update @open { udp sport }"
		admit = "udp dport @open dnat to " + g.next.IP4.String()
	default:
		return fmt.Errorf("no NAT of kind %q", g.kind)
	}
	if remember != "" {
		remember = "iifname " + inside + " meta l4proto udp " + remember
		admit = "iifname != " + inside + " " + admit
	}
	for _, match := range g.forward {
		admit += fmt.Sprintf("\n  iifname != %s %s dnat to %s", inside, match, g.next.IP4)
	}
	cmd := exec.Command("ip", "netns", "exec", g.ns, "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(strings.NewReplacer(
		"SOURCE", source, "REMEMBER", remember, "ADMIT", admit, "BLOCK", g.block, "LAN", inside).Replace(`flush ruleset
table ip home {
 set open { type inet_service; flags dynamic,timeout; timeout 60s; }
 set seen { type inet_service . ipv4_addr; flags dynamic,timeout; timeout 60s; }
 chain own { type filter hook input priority 0; policy accept;
  iifname != { "lo", "LAN" } drop
 }
 chain crossing { type filter hook forward priority 0; policy drop;
  BLOCK
  REMEMBER
  ct state established,related accept
  iifname "LAN" accept
  ct status dnat accept
 }
 chain arriving { type nat hook prerouting priority -100;
  ADMIT
 }
 chain leaving { type nat hook postrouting priority 100;
  oifname != { "lo", "LAN" } SOURCE
 }
}
`))
	return run(cmd)
}

// Public is the address that others see, as long as the outermost router maps to it.
func (s *NAT) Public() netip.Addr { return s.gateways[0].IP4 }

// Block replaces what the innermost router drops of the client's packets: nftables rules, one per line.
func (s *NAT) Block(rules string) error {
	g := s.gateways[len(s.gateways)-1]
	g.block = rules
	return g.apply()
}

// Forward replaces what the innermost router sends to the client of what comes from outside: nftables matches, like
// "udp dport 3478".
func (s *NAT) Forward(matches ...string) error {
	g := s.gateways[len(s.gateways)-1]
	g.forward = matches
	return g.apply()
}

// Gateway is the innermost router, which the client knows as .1 of its subnet.
func (s *NAT) Gateway() *Node { return s.gateways[len(s.gateways)-1].Node }

// Rebind has the routers forget their mappings, as if they had been started anew.
func (s *NAT) Rebind() error {
	for _, g := range s.gateways {
		if err := errors.Join(g.apply(), g.forgetConnections()); err != nil {
			return err
		}
	}
	return nil
}

// Readdress changes the public address between 11.22.33.host and 11.22.34.host. The client notices nothing but that
// its mappings are gone.
func (s *NAT) Readdress() error {
	gate := s.gateways[0]
	before, bytes := gate.IP4, gate.IP4.As4()
	bytes[2] = 33 + 34 - bytes[2]
	gate.IP4 = netip.AddrFrom4(bytes)
	return firstError(
		func() error { return gate.ip("addr", "add", gate.IP4.String()+"/32", "dev", outside) },
		s.route,
		func() error { return gate.ip("addr", "del", before.String()+"/32", "dev", outside) },
		func() error { return s.net.ip("route", "del", before.String()+"/32") },
		s.Rebind,
	)
}

// Roam moves the client to another network: its own address and the public one change.
func (s *NAT) Roam() error {
	before, bytes := s.Client.IP4, s.Client.IP4.As4()
	bytes[3] = 2 + 3 - bytes[3]
	s.Client.IP4 = netip.AddrFrom4(bytes)
	gateway := fmt.Sprintf("192.168.%d.1", bytes[2])
	return firstError(
		func() error {
			return s.Client.ip("addr", "flush", "dev", outside, "scope", "global", "to", before.String()+"/32")
		},
		func() error { return s.Client.ip("addr", "add", s.Client.IP4.String()+"/24", "dev", outside) },
		func() error { return s.Client.ip("route", "replace", "default", "via", gateway) },
		s.Readdress,
	)
}

// route leads packets between the core and the outermost router over the wire if there is one, else over the veth.
func (s *NAT) route() error {
	gate := s.gateways[0]
	public := gate.IP4.String()
	if s.wire != nil {
		return errors.Join(gate.ip("route", "replace", "default", "dev", wireHome, "src", public),
			s.net.ip("route", "replace", public+"/32", "dev", s.wire.name))
	}
	return errors.Join(gate.ip("route", "replace", "default", "via", "169.254.1.1", "dev", outside, "onlink", "src", public),
		s.net.ip("route", "replace", public+"/32", "dev", gate.port))
}

// Close removes the home before its Net is closed. Programs must have been stopped before.
func (s *NAT) Close() error {
	var errs []error
	if s.wire != nil {
		errs = append(errs, s.wire.close())
	}
	homes := []*Node{s.Client}
	for _, g := range s.gateways {
		homes = append(homes, g.Node)
	}
	for _, node := range homes {
		s.net.nodes = slices.DeleteFunc(s.net.nodes, func(n *Node) bool { return n == node })
		errs = append(errs, removeNamespace(node.ns))
	}
	return errors.Join(errs...)
}
