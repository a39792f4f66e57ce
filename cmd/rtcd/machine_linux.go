package main

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// localPortRange is what the kernel gives to programs that do not choose a port.
func localPortRange() (low, high uint16, ok bool) {
	data, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		return 0, 0, false
	}
	fields := strings.Fields(string(data))
	if len(fields) != 2 {
		return 0, 0, false
	}
	a, err1 := strconv.ParseUint(fields[0], 10, 16)
	b, err2 := strconv.ParseUint(fields[1], 10, 16)
	return uint16(a), uint16(b), err1 == nil && err2 == nil
}

// reserved tells whether the kernel keeps all ports from low to high out of that range.
func reserved(low, high uint16) bool {
	data, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_reserved_ports")
	if err != nil {
		return false
	}
	for part := range strings.SplitSeq(strings.TrimSpace(string(data)), ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		a, err1 := strconv.ParseUint(first, 10, 16)
		b, err2 := strconv.ParseUint(last, 10, 16)
		if err1 == nil && err2 == nil && uint16(a) <= low && high <= uint16(b) {
			return true
		}
	}
	return false
}

// openFiles is how many descriptors a process may have. Go raises the soft limit to
// the hard one at start.
func openFiles() (uint64, bool) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0, false
	}
	return limit.Cur, true
}
