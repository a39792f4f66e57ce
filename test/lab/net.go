package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// netnsConf is where ip-netns(8) looks for files to lay over /etc in a namespace.
const netnsConf = "/etc/netns"

// namePrefix starts the name of every namespace of ours; the process id of its maker follows.
const namePrefix = "rtcdlab"

// Net is a router and the nodes around it. It is not safe for concurrent use, its nodes are.
type Net struct {
	router string
	nodes  []*Node
	hosts  map[string][]netip.Addr
}

// Node is one namespace with one IPv4 and one IPv6 address.
type Node struct {
	IP4, IP6 netip.Addr
	ns       string
	port     string // the router's interface towards it; "" for a node behind another
}

// New makes the router. It first removes what labs of dead processes have left behind.
func New() (*Net, error) {
	if err := sweep(); err != nil {
		return nil, fmt.Errorf("lab: remove stale namespaces: %w", err)
	}
	n := &Net{router: nsName("net"), hosts: map[string][]netip.Addr{}}
	err := errors.Join(addNamespace(n.router),
		n.ip("link", "set", "lo", "up"),
		sysctl(n.router, "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"),
		n.Firewall(""))
	if err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

// Add makes a node with the addresses 11.22.33.host and 2a11:22:33::host (the latter with host in hexadecimal).
func (n *Net) Add(name string, host byte) (*Node, error) {
	ip6 := netip.MustParseAddr("2a11:22:33::").As16()
	ip6[15] = host
	node := &Node{IP4: netip.AddrFrom4([4]byte{11, 22, 33, host}), IP6: netip.AddrFrom16(ip6), ns: nsName(name), port: "to-" + name}
	if err := addNamespace(node.ns); err != nil {
		return nil, err
	}
	n.nodes = append(n.nodes, node)
	if err := n.connect(node); err != nil {
		return nil, fmt.Errorf("lab: node %q: %w", name, err)
	}
	return node, n.writeHosts()
}

// AddAddress gives a node of [Net.Add] another address, 11.22.33.host.
func (n *Net) AddAddress(node *Node, host byte) (netip.Addr, error) {
	addr := netip.AddrFrom4([4]byte{11, 22, 33, host})
	return addr, firstError(
		func() error { return node.ip("addr", "add", addr.String()+"/32", "dev", "eth0") },
		func() error {
			return n.ip("route", "add", addr.String()+"/32", "via", node.IP4.String(), "dev", node.port, "onlink")
		},
	)
}

// connect joins a node to the router. Each end knows the other by an on-link gateway address, so a node's
// own address can be a /32 and every packet between two nodes is routed (and filtered).
func (n *Net) connect(node *Node) error {
	const gateway4, gateway6 = "169.254.1.1", "fe80::1"
	port := node.port
	node4, node6 := node.IP4.String(), node.IP6.String()
	return firstError(
		func() error { return sysctl(n.router, "net.ipv6.conf.default.accept_dad=0") },
		func() error { return sysctl(node.ns, "net.ipv6.conf.default.accept_dad=0") },
		func() error {
			return n.ip("link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", node.ns)
		},
		func() error { return n.ip("addr", "add", gateway4+"/32", "dev", port) },
		func() error { return n.ip("addr", "add", gateway6+"/64", "dev", port, "nodad") },
		func() error { return n.ip("link", "set", port, "up") },
		func() error { return node.ip("link", "set", "lo", "up") },
		func() error { return node.ip("addr", "add", node4+"/32", "dev", "eth0") },
		func() error { return node.ip("addr", "add", node6+"/128", "dev", "eth0", "nodad") },
		func() error { return node.ip("link", "set", "eth0", "up") },
		func() error { return n.ip("route", "add", node4+"/32", "dev", port) },
		func() error { return n.ip("route", "add", node6+"/128", "dev", port) },
		func() error {
			return node.ip("route", "add", "default", "via", gateway4, "dev", "eth0", "onlink", "src", node4)
		},
		func() error { return node.ip("route", "add", "default", "via", gateway6, "dev", "eth0", "src", node6) },
	)
}

// Name makes a host name known to every node, also to nodes added later.
func (n *Net) Name(host string, addrs ...netip.Addr) error {
	n.hosts[host] = addrs
	return n.writeHosts()
}

// writeHosts writes in place: running programs have the old inode mounted.
func (n *Net) writeHosts() error {
	var text strings.Builder
	text.WriteString("127.0.0.1 localhost\n::1 localhost\n")
	for host, addrs := range n.hosts {
		for _, a := range addrs {
			fmt.Fprintf(&text, "%s %s %s.\n", a, host, host) // Chromium's WebRTC asks with the final dot
		}
	}
	for _, node := range n.nodes {
		dir := filepath.Join(netnsConf, node.ns)
		files := map[string]string{
			"hosts":       text.String(),
			"resolv.conf": "# no name server in here\nnameserver 127.0.0.1\noptions attempts:1 timeout:1\n",
		}
		for name, content := range files {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

// Firewall replaces what the router drops: nftables rules, one per line, evaluated for every packet that crosses it,
// e.g. "udp dport 3478 drop". Empty rules let everything pass.
func (n *Net) Firewall(rules string) error {
	cmd := exec.Command("ip", "netns", "exec", n.router, "nft", "-f", "-")
	cmd.Stdin = strings.NewReader("flush ruleset\ntable inet lab {\n chain crossing {\n" +
		"  type filter hook forward priority 0; policy accept;\n" + rules + "\n }\n}\n")
	return run(cmd)
}

// Close removes the namespaces, their interfaces and their files. Programs must have been stopped before.
func (n *Net) Close() error {
	errs := []error{removeNamespace(n.router)}
	for _, node := range n.nodes {
		errs = append(errs, removeNamespace(node.ns))
	}
	return errors.Join(errs...)
}

// Command is exec.CommandContext inside the node, with the node's hosts file as /etc/hosts.
func (nd *Node) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "ip", slices.Concat([]string{"netns", "exec", nd.ns, name}, args)...)
}

// Namespace is the node's name for ip-netns(8).
func (nd *Node) Namespace() string { return nd.ns }

func (nd *Node) ip(args ...string) error { return ipIn(nd.ns, args...) }

func (n *Net) ip(args ...string) error { return ipIn(n.router, args...) }

func ipIn(ns string, args ...string) error {
	return run(exec.Command("ip", slices.Concat([]string{"-n", ns}, args)...))
}

func sysctl(ns string, settings ...string) error {
	return run(exec.Command("ip", slices.Concat([]string{"netns", "exec", ns, "sysctl", "-qw"}, settings)...))
}

// nsName is at most 15 characters for short names, so that it may name an interface too.
func nsName(name string) string { return fmt.Sprintf("%s%d-%s", namePrefix, os.Getpid(), name) }

func addNamespace(ns string) error {
	if err := run(exec.Command("ip", "netns", "add", ns)); err != nil {
		return err
	}
	return os.MkdirAll(filepath.Join(netnsConf, ns), 0o755)
}

func removeNamespace(ns string) error {
	return errors.Join(run(exec.Command("ip", "netns", "del", ns)), os.RemoveAll(filepath.Join(netnsConf, ns)))
}

// sweep removes the namespaces of labs whose process is gone, and the programs that still run in them.
func sweep() error {
	entries, err := os.ReadDir("/run/netns")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		rest, ours := strings.CutPrefix(e.Name(), namePrefix)
		pid, convErr := strconv.Atoi(strings.SplitN(rest, "-", 2)[0])
		if !ours || convErr != nil || syscall.Kill(pid, 0) == nil {
			continue
		}
		out, _ := exec.Command("ip", "netns", "pids", e.Name()).Output()
		for _, left := range strings.Fields(string(out)) {
			if p, convErr := strconv.Atoi(left); convErr == nil {
				_ = syscall.Kill(p, syscall.SIGKILL) // it may have ended by itself meanwhile
			}
		}
		err = errors.Join(err, removeNamespace(e.Name()))
	}
	return err
}

// run runs a command; its error holds the command and what it said.
func run(cmd *exec.Cmd) error {
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, bytes.TrimSpace(out.Bytes()))
	}
	return nil
}

func firstError(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}
