//go:build linux

package soak

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
)

// counters are numbers by name: of rtcd "name{labels}" as in /metrics, of the kernel
// "NAMESPACE Protocol Counter" and "NAMESPACE device dropped".
type counters map[string]float64

// lossCounters are those of /proc/net/snmp that each stand for a lost datagram, and for
// none that another of them counts. (InErrors is a sum of others; OutDiscards and
// SndbufErrors are told for what a device dropped.)
var lossCounters = []string{
	"Ip InHdrErrors", "Ip InAddrErrors", "Ip InDiscards", "Ip OutNoRoutes", "Ip ReasmFails", "Ip FragFails",
	"Udp NoPorts", "Udp RcvbufErrors", "Udp MemErrors", "Udp InCsumErrors",
}

const (
	rcvbufErrors  = " Udp RcvbufErrors"
	deviceDropped = " device dropped"
)

// readCounters reads all of them at about the same time.
func readCounters(ctx context.Context, o Options) (counters, error) {
	out := counters{}
	text, err := o.Metrics(ctx)
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	parseMetrics(text, out)
	for _, ns := range o.Lab.Namespaces() {
		text, err := exec.CommandContext(ctx, "ip", "netns", "exec", ns, "cat", "/proc/net/snmp", "/proc/net/dev").Output()
		if err != nil {
			return nil, fmt.Errorf("counters of %s: %w", ns, err)
		}
		if err := parseProc(ns, text, out); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// parseMetrics takes lines of the Prometheus text format: NAME{LABELS} VALUE.
func parseMetrics(text string, out counters) {
	for line := range strings.Lines(text) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		if v, err := strconv.ParseFloat(value, 64); ok && err == nil && line[0] != '#' {
			out[name] = v
		}
	}
}

// parseProc takes /proc/net/snmp, whose lines come in pairs of names and values, and
// /proc/net/dev behind it, in which the twelfth number of a device is what it dropped of
// what it was to send.
func parseProc(ns string, text []byte, out counters) error {
	lines := strings.Split(string(bytes.TrimSpace(text)), "\n")
	if len(lines) < 4 {
		return fmt.Errorf("%s: no counters in %q", ns, text)
	}
	for i, line := range lines {
		protocol, rest, ok := strings.Cut(strings.TrimSpace(line), ":")
		values := strings.Fields(rest)
		switch {
		case !ok:
		case len(values) == 16 && isNumber(values[0]):
			dropped, err := strconv.ParseFloat(values[11], 64)
			if err != nil {
				return fmt.Errorf("%s: device %s: %w", ns, protocol, err)
			}
			out[ns+deviceDropped] += dropped
		case i > 0 && len(values) > 0 && isNumber(values[0]):
			names := strings.Fields(lines[i-1])
			if len(names) != len(values)+1 || names[0] != protocol+":" {
				return fmt.Errorf("%s: %s: %d names for %d values", ns, protocol, len(names)-1, len(values))
			}
			for j, v := range values {
				n, err := strconv.ParseFloat(v, 64)
				if err != nil {
					return fmt.Errorf("%s: %s: %w", ns, protocol, err)
				}
				out[ns+" "+protocol+" "+names[j+1]] = n
			}
		}
	}
	return nil
}

func isNumber(s string) bool {
	_, err := strconv.ParseFloat(s, 64)
	return err == nil
}

// since returns what has been added to each counter.
func (c counters) since(before counters) counters {
	out := counters{}
	for name, v := range c {
		out[name] = v - before[name]
	}
	return out
}

// sum adds up the series of one name.
func (c counters) sum(name string) (total float64) {
	for series, v := range c {
		if strings.HasPrefix(series, name+"{") {
			total += v
		}
	}
	return total
}

const (
	allocations = "rtcd_turn_allocations"
	dropPrefix  = `rtcd_turn_dropped_packets_total{reason="`
	sendFull    = `rtcd_turn_udp_send_errors_total{reason="full"}`
)

// Loss is one counter that accounts for lost packets.
type Loss struct {
	Name  string
	Count int64
}

// losses are the counters that grew, in the order of the way: rtcd's, then the kernel's
// by namespace. What rtcd's own sockets overflowed is the kernel's to count; told is how
// much of it rtcd has noticed.
func losses(grown counters, o Options) (list []Loss, told int64) {
	add := func(name string, n float64) {
		if n != 0 {
			list = append(list, Loss{name, int64(n)})
		}
	}
	for _, name := range sortedNames(grown) {
		reason, ok := strings.CutPrefix(name, dropPrefix)
		reason = strings.TrimSuffix(reason, `"}`)
		switch {
		case !ok:
		case reason == "overflow":
			told = int64(grown[name])
		default:
			add("rtcd: "+reason, grown[name])
		}
	}
	for _, ns := range o.Lab.Namespaces() {
		_, role, _ := strings.Cut(ns, "-")
		dropped := grown[ns+deviceDropped]
		if ns == o.Server.Namespace() {
			dropped = max(0, dropped-grown[sendFull]) // those rtcd was told of: its write_failed
		}
		add(role+": device", dropped)
		for _, name := range lossCounters {
			add(role+": "+name, grown[ns+" "+name])
		}
	}
	return list, told
}

// oneByOne forbids the devices of the nodes super-frames, or allows them again. In bursts
// the load's own may leave as one.
func oneByOne(o Options, on bool) error {
	segments := "65535"
	if on {
		segments = "1"
	}
	var errs []error
	nodes := []string{o.Server.Namespace()}
	if o.Burst <= 1 {
		nodes = append(nodes, o.Client.Namespace(), o.Peer.Namespace())
	}
	for _, node := range nodes {
		out, err := exec.Command("ip", "-n", node, "link", "set", "dev", "eth0", "gso_max_segs", segments).CombinedOutput()
		if err != nil {
			errs = append(errs, fmt.Errorf("device of %s: %w: %s", node, err, out))
		}
	}
	return errors.Join(errs...)
}
