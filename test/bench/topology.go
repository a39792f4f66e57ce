//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Addresses of the three places. They look global, since relays refuse others as
// peers; nothing leaves the namespaces.
var (
	serverIP = netip.MustParseAddr("11.22.33.1")
	clientIP = netip.MustParseAddr("11.22.33.2")
	peerIP   = netip.MustParseAddr("11.22.33.130")
)

const (
	turnPort  = 3478
	turnsPort = 5349

	dataChannel  = 0x4000 // counted and dropped where it arrives
	probeChannel = 0x4001 // reaches real sockets
	probePort    = 19000  // of the peer; reaches real sockets
	peerPort     = 20000  // and following: one per flow, counted and dropped
)

// link is one veth between the server and somebody.
type link struct {
	near, far       string // names at the server and at the other end
	nearMAC, farMAC net.HardwareAddr
}

var (
	clientLink = link{near: "s0", far: "c0", nearMAC: mac(1, 1), farMAC: mac(1, 2)}
	peerLink   = link{near: "s1", far: "p0", nearMAC: mac(2, 1), farMAC: mac(2, 2)}
)

func mac(side, end byte) net.HardwareAddr { return net.HardwareAddr{2, 0, 0, 0, side, end} }

// topology is the three namespaces, by name.
type topology struct{ server, client, peer string }

// namePrefix starts the name of each namespace; the process id of its maker follows.
const namePrefix = "rtcdbench"

// newTopology makes the namespaces, after removing what dead processes left.
func newTopology() (*topology, error) {
	sweep()
	name := func(role string) string { return fmt.Sprintf("%s%d-%s", namePrefix, os.Getpid(), role) }
	t := &topology{server: name("srv"), client: name("cli"), peer: name("peer")}
	for _, ns := range []string{t.server, t.client, t.peer} {
		if err := run("ip", "netns", "add", ns); err != nil {
			return nil, errors.Join(err, t.Close())
		}
	}
	err := errors.Join(
		t.join(t.client, clientLink, "11.22.33.1/25", "11.22.33.2/25"),
		t.join(t.peer, peerLink, "11.22.33.129/25", "11.22.33.130/25"),
		t.neighbours(),
		sink(t.client, clientLink.far, fmt.Sprintf("meta l4proto udp @th,64,16 %#x", dataChannel)),
		sink(t.peer, peerLink.far, fmt.Sprintf("@th,16,16 >= %d", peerPort)),
	)
	if err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

// join puts a veth between the server and another namespace.
func (t *topology) join(ns string, l link, near, far string) error {
	gateway, _, _ := strings.Cut(near, "/")
	return runAll(
		"ip -n "+t.server+" link set lo up",
		"ip -n "+ns+" link set lo up",
		"ip link add "+l.near+" address "+l.nearMAC.String()+" netns "+t.server+
			" type veth peer name "+l.far+" address "+l.farMAC.String()+" netns "+ns,
		"ip -n "+t.server+" addr add "+near+" dev "+l.near,
		"ip -n "+ns+" addr add "+far+" dev "+l.far,
		"ip -n "+t.server+" link set "+l.near+" up",
		"ip -n "+ns+" link set "+l.far+" up",
		"ip -n "+ns+" route add default via "+gateway,
		"ip netns exec "+t.server+" sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf."+l.near+".rp_filter=0",
	)
}

// neighbours fixes the ARP tables, so that no look-up comes between packets.
func (t *topology) neighbours() error {
	entry := func(ns, ip string, hw net.HardwareAddr, dev string) string {
		return "ip -n " + ns + " neigh replace " + ip + " lladdr " + hw.String() + " dev " + dev + " nud permanent"
	}
	return runAll(
		entry(t.server, clientIP.String(), clientLink.farMAC, clientLink.near),
		entry(t.server, peerIP.String(), peerLink.farMAC, peerLink.near),
		entry(t.client, serverIP.String(), clientLink.nearMAC, clientLink.far),
		entry(t.peer, "11.22.33.129", peerLink.nearMAC, peerLink.far),
	)
}

// segmentsPerFrame bounds the super-frames that the server's devices take; with 1 its
// system cuts all of them up before.
func (t *topology) segmentsPerFrame(n int) error {
	set := func(dev string) string {
		return fmt.Sprintf("ip -n %s link set dev %s gso_max_segs %d", t.server, dev, n)
	}
	return runAll(set(clientLink.near), set(peerLink.near))
}

// Close removes the namespaces and with them all that is in them.
func (t *topology) Close() error {
	return errors.Join(
		run("ip", "netns", "del", t.server), run("ip", "netns", "del", t.client), run("ip", "netns", "del", t.peer))
}

// sweep removes the namespaces of processes that are no more.
func sweep() {
	list, _ := filepath.Glob("/run/netns/" + namePrefix + "*")
	for _, path := range list {
		name := filepath.Base(path)
		id, _, _ := strings.Cut(strings.TrimPrefix(name, namePrefix), "-")
		pid, err := strconv.Atoi(id)
		if err == nil && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			run("ip", "netns", "del", name)
		}
	}
}

// sink counts and drops what matches at the ingress of a device. The matches look at
// as little as will do: the first word behind the UDP header for a channel, and at
// the peer, where only UDP arrives, the destination port.
func sink(ns, dev, match string) error {
	rules := fmt.Sprintf(`table netdev bench {
	counter data {}
	chain in {
		type filter hook ingress device %q priority 0; policy accept;
		%s counter name data drop
	}
}`, dev, match)
	cmd := exec.Command("ip", "netns", "exec", ns, "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(rules)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("nft in %s: %w: %s", ns, err, out)
	}
	return nil
}

// tally is what a sink has counted: frames, super-frames as one, and the bytes of
// their IP packets.
type tally struct{ Packets, Bytes uint64 }

func readSink(ns string) (tally, error) {
	out, err := exec.Command("ip", "netns", "exec", ns, "nft", "-j", "list", "counter", "netdev", "bench", "data").Output()
	if err != nil {
		return tally{}, fmt.Errorf("nft in %s: %w", ns, err)
	}
	var doc struct {
		Nftables []struct{ Counter *tally }
	}
	if err := json.Unmarshal(out, &doc); err != nil {
		return tally{}, fmt.Errorf("nft in %s: %w", ns, err)
	}
	for _, o := range doc.Nftables {
		if o.Counter != nil {
			return *o.Counter, nil
		}
	}
	return tally{}, fmt.Errorf("nft in %s: no counter", ns)
}

// datagrams is how many datagrams with a payload of size bytes were counted since
// an earlier reading: a super-frame has one set of headers, of 28 bytes.
func (t tally) datagrams(since tally, size int) uint64 {
	return (t.Bytes - since.Bytes - 28*(t.Packets-since.Packets)) / uint64(size)
}

// within runs f on a thread that is in a namespace; sockets stay where they were
// made. The thread ends with the goroutine, since it stays locked to it.
func within(ns string, f func() error) error {
	done := make(chan error)
	// within owns the goroutine and waits for its end.
	go func() {
		runtime.LockOSThread()
		done <- func() error {
			ns, err := os.Open("/run/netns/" + ns)
			if err != nil {
				return err
			}
			defer ns.Close()
			if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
				return fmt.Errorf("setns: %w", err)
			}
			return f()
		}()
	}()
	return <-done
}

func run(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out)
	}
	return nil
}

func runAll(lines ...string) error {
	for _, l := range lines {
		words := strings.Fields(l)
		if err := run(words[0], words[1:]...); err != nil {
			return err
		}
	}
	return nil
}
