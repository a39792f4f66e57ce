package machine

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Machine reads the kernel's files.
type Machine struct {
	Root string // where /proc and /sys are; "" means /
}

// read returns a file without the space around its contents, "" if it cannot.
func (m Machine) read(path string) string {
	data, err := os.ReadFile(filepath.Join("/", m.Root, path))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

// Sysctl is a setting that is a number, like net.core.rmem_max.
func (m Machine) Sysctl(name string) (n int64, ok bool) {
	n, err := strconv.ParseInt(m.read("/proc/sys/"+strings.ReplaceAll(name, ".", "/")), 10, 64)
	return n, err == nil
}

// LocalPorts are the ports that the kernel gives to programs that do not choose one.
func (m Machine) LocalPorts() (low, high uint16, ok bool) {
	fields := strings.Fields(m.read("/proc/sys/net/ipv4/ip_local_port_range"))
	if len(fields) != 2 {
		return 0, 0, false
	}
	return portRange(fields[0], fields[1])
}

func portRange(first, last string) (low, high uint16, ok bool) {
	a, err1 := strconv.ParseUint(first, 10, 16)
	b, err2 := strconv.ParseUint(last, 10, 16)
	return uint16(a), uint16(b), err1 == nil && err2 == nil && a <= b
}

// Reserved is what the kernel keeps out of that range, as its setting says it:
// "8080,49152-65535". It is "" for nothing.
func (m Machine) Reserved() string { return m.read("/proc/sys/net/ipv4/ip_local_reserved_ports") }

// Reserves tells whether all ports from low to high are in [Machine.Reserved].
func (m Machine) Reserves(low, high uint16) bool {
	// Its ranges are sorted, but neighbours need not be joined.
	next := int(low)
	for part := range strings.SplitSeq(m.Reserved(), ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		if a, b, ok := portRange(first, last); ok && int(a) <= next && next <= int(b) {
			next = int(b) + 1
		}
	}
	return next > int(high)
}

// Conntrack is how many connections the kernel's firewall follows, and at most can; ok
// is false where it follows none.
func (m Machine) Conntrack() (count, most int64, ok bool) {
	most, ok = m.Sysctl("net.netfilter.nf_conntrack_max")
	if ok {
		count, _ = m.Sysctl("net.netfilter.nf_conntrack_count")
	}
	return count, most, ok
}

// Container is the kind of container around this process, "" for none that shows.
func (m Machine) Container() string {
	for file, kind := range map[string]string{"/.dockerenv": "Docker", "/run/.containerenv": "Podman"} {
		if _, err := os.Stat(filepath.Join("/", m.Root, file)); err == nil {
			return kind
		}
	}
	for _, kind := range []string{"kubepods", "docker", "lxc"} {
		if strings.Contains(m.read("/proc/1/cgroup"), "/"+kind) {
			return kind
		}
	}
	return ""
}

// Bridged tells whether the only way out is one end of a virtual cable, as in a bridge
// network of Docker: the other end, in another network namespace, has another number.
func (m Machine) Bridged() bool {
	dir := filepath.Join("/", m.Root, "sys/class/net")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return false
	}
	seen := false
	for _, e := range entries {
		if e.Name() == "lo" {
			continue
		}
		own, other := m.read("/sys/class/net/"+e.Name()+"/ifindex"), m.read("/sys/class/net/"+e.Name()+"/iflink")
		if own == "" || own == other {
			return false // hardware, or a bridge of this very machine
		}
		seen = seen || other != "0"
	}
	return seen
}
