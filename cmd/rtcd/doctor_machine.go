package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"rtcd/machine"
)

// senses are what the doctor knows of the machine. Tests put others in their place.
type senses struct {
	machine.Machine
	openFiles     func() (uint64, bool)
	receiveBuffer func(want int) (int, bool)
	synchronized  func() (yes, ok bool)
}

func ownSenses() senses {
	return senses{machine.Machine{}, machine.OpenFiles, machine.ReceiveBuffer, machine.Synchronized}
}

func (d *doctor) examineMachine() {
	d.examineRelayPorts()
	d.examineOpenFiles()
	d.examineBuffers()
	d.examineConntrack()
	d.examineContainer()
}

// sysctl is a command that sets the kernel's keys now and at each start.
func sysctl(file, settings string) string {
	return fmt.Sprintf("echo '%s' >/etc/sysctl.d/60-rtcd-%s.conf && sysctl --system", settings, file)
}

// ports is how many relay ports there are.
func (d *doctor) ports() int {
	r := d.config.Turn.RelayPorts
	return int(r.Max) - int(r.Min) + 1
}

// examineRelayPorts looks whether the kernel could give a relay port to another
// program, which then has it when an allocation wants it.
func (d *doctor) examineRelayPorts() {
	r := d.config.Turn.RelayPorts
	low, high, known := d.senses.LocalPorts()
	if low, high := max(low, r.Min), min(high, r.Max); known && low <= high && !d.senses.Reserves(low, high) {
		all := fmt.Sprintf("%d-%d", low, high)
		if have := d.senses.Reserved(); have != "" {
			all = have + "," + all
		}
		d.row(warn, "relay ports", fmt.Sprintf("of %s the kernel also gives %d-%d to other programs", r, low, high),
			sysctl("ports", "net.ipv4.ip_local_reserved_ports = "+all))
		return
	}
	d.row(ok, "relay ports", fmt.Sprintf("%s, %d of them", r, d.ports()), "")
}

// spareFiles is how many descriptors beside those of allocations are enough.
const spareFiles = 1024

func (d *doctor) examineOpenFiles() {
	have, known := d.senses.openFiles()
	want := uint64(2*d.ports() + spareFiles)
	switch {
	case !known:
	case have < want:
		d.row(warn, "open files", fmt.Sprintf("at most %d here, and %d relay ports want %d", have, d.ports(), want),
			fmt.Sprintf("LimitNOFILE=%d in the unit (deploy/rtcd.service has enough), or before rtcd serve in this shell: ulimit -n %d", want, want))
	default:
		d.row(ok, "open files", fmt.Sprintf("at most %d", have), "")
	}
}

// wantedBuffer is what a listener asks for, in bytes.
const wantedBuffer = 4 << 20

func (d *doctor) examineBuffers() {
	got, known := d.senses.receiveBuffer(wantedBuffer)
	switch {
	case !known:
	case got < wantedBuffer:
		d.row(warn, "buffers", fmt.Sprintf("a UDP socket gets %d bytes, so that bursts are lost; %d are wanted", got, wantedBuffer),
			sysctl("buffers", fmt.Sprintf("net.core.rmem_max = %d\nnet.core.wmem_max = %d", wantedBuffer, wantedBuffer)))
	default:
		d.row(ok, "buffers", fmt.Sprintf("a UDP socket gets %d bytes", got), "")
	}
}

// An allocation has a flow to its client and, mostly, to a few peers.
const flowsPerAllocation = 4

func (d *doctor) examineConntrack() {
	count, most, known := d.senses.Conntrack()
	want := int64(flowsPerAllocation * d.ports())
	switch {
	case !known:
		d.row(ok, "conntrack", "the firewall follows no connections", "")
	case most < want || count > most/10*9:
		d.row(warn, "conntrack", fmt.Sprintf("the firewall follows at most %d connections, %d now; %d relay ports want %d. What is beyond is dropped",
			most, count, d.ports(), want),
			sysctl("conntrack", fmt.Sprintf("net.netfilter.nf_conntrack_max = %d", max(want, 2*count))))
	default:
		d.row(ok, "conntrack", fmt.Sprintf("%d connections of at most %d", count, most), "")
	}
}

func (d *doctor) examineContainer() {
	kind := d.senses.Container()
	switch {
	case kind == "":
		d.row(ok, "container", "none", "")
	case d.senses.Bridged():
		d.row(warn, "container", kind+" with a network of its own: each relay port has to be published, and clients' addresses may be hidden",
			"network_mode: host in compose.yaml (docker run --network host); else publish turn.relay_ports, a hundred at most, and set turn.external_ip")
	default:
		d.row(ok, "container", kind+" with the network of its host", "")
	}
}

// A clock that is off by this much makes credentials expire at the wrong time.
const (
	clockOff  = 30 * time.Second // worth a failure
	clockSoso = 2 * time.Second  // worth a warning
)

const keepClock = "timedatectl set-ntp true, or: apt install systemd-timesyncd"

// examineClock looks whether credentials will expire when they should. Nobody is asked
// what time it is, unless --ntp names a server.
func (d *doctor) examineClock(ctx context.Context) {
	now := time.Now()
	if file, when := d.newestFile(); when.After(now.Add(time.Minute)) {
		d.row(fail, "clock", fmt.Sprintf("it is %s here, but %s was written %s later: credentials of other programs seem to be of the future, or have expired",
			now.UTC().Format(time.RFC3339), file, when.Sub(now).Round(time.Second)), keepClock)
		return
	}
	kept, known := d.senses.synchronized()
	if len(d.ntp) > 0 {
		d.askTime(ctx, kept || !known)
		return
	}
	switch {
	case !known:
		d.row(ok, "clock", now.UTC().Format(time.RFC3339)+"; whether it is kept right is not known here", "")
	case !kept:
		d.row(warn, "clock", fmt.Sprintf("%s, but nothing keeps it right: credentials expire by it", now.UTC().Format(time.RFC3339)), keepClock+"; rtcd check --ntp SERVER compares")
	default:
		d.row(ok, "clock", now.UTC().Format(time.RFC3339)+", kept right", "")
	}
}

// askTime compares the clock with time servers. One that is wrong itself shows where there
// are two.
func (d *doctor) askTime(ctx context.Context, kept bool) {
	const another = "name another time server with --ntp"
	var details []string
	var least, most time.Duration
	for i, server := range d.ntp {
		offset, err := askOneTime(ctx, server)
		if err != nil {
			d.row(warn, "clock", err.Error(), another+", or let UDP port 123 out")
			return
		}
		if i == 0 {
			least, most = offset, offset
		}
		least, most = min(least, offset), max(most, offset)
		side := "behind"
		if offset < 0 {
			side = "ahead of"
		}
		details = append(details, fmt.Sprintf("%s %s %s", offset.Abs().Round(time.Millisecond), side, server))
	}
	detail, off := strings.Join(details, ", "), max(least.Abs(), most.Abs())
	switch {
	case most-least >= clockSoso:
		d.row(warn, "clock", detail+": one of them is wrong", another)
	case off >= clockOff:
		d.row(fail, "clock", detail+": credentials expire at the wrong time", keepClock)
	case off >= clockSoso || !kept:
		d.row(warn, "clock", detail+", and nothing keeps it right", keepClock)
	default:
		d.row(ok, "clock", detail, "")
	}
}

func askOneTime(ctx context.Context, server string) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return machine.Offset(ctx, server)
}

// newestFile is the file of the configuration that was written last.
func (d *doctor) newestFile() (name string, when time.Time) {
	files := []string{d.config.File}
	if d.secrets != nil {
		files = append(files, d.secrets.files...)
	}
	for _, f := range files {
		if info, err := os.Stat(f); f != "" && err == nil && info.ModTime().After(when) {
			name, when = f, info.ModTime()
		}
	}
	return name, when
}
