//go:build linux

package soak

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Report is the account of a run. Packets are application data, over all streams.
type Report struct {
	Options Options
	Started time.Time
	Seconds float64

	Sent, Received                 uint64
	NotSent                        uint64 // packets that the kernel did not take from the load
	Duplicates, Reordered, Corrupt uint64
	Losses                         []Loss
	Unexplained                    int64 // sent, neither received nor in Losses
	Overflow, OverflowTold         int64 // lost at rtcd's own sockets: by the kernel's account, and by rtcd's

	Samples        []Sample // from the first packet to the last
	Idle, Released Sample   // before the first allocation, and after the last
	Left           float64  // allocations more than before, after all were released
	grown          counters
}

// Sample is what the server uses at a time.
type Sample struct {
	At                      time.Duration // since the start of sending
	Resident                float64       // bytes
	Goroutines, Descriptors float64
}

func newSample(at time.Duration, c counters) Sample {
	return Sample{at, c["process_resident_memory_bytes"], c["go_goroutines"], c["process_open_fds"]}
}

// samples takes one each minute, or five in all, until done.
func (r *Report) samples(ctx context.Context, total time.Duration, done <-chan struct{}) error {
	every := time.NewTicker(min(time.Minute, total/5))
	defer every.Stop()
	for start := time.Now(); ; {
		if err := r.sample(ctx, time.Since(start)); err != nil {
			return err
		}
		select {
		case <-every.C:
		case <-done:
			return nil
		}
	}
}

func (r *Report) sample(ctx context.Context, at time.Duration) error {
	text, err := r.Options.Metrics(ctx)
	if err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	c := counters{}
	parseMetrics(text, c)
	r.Samples = append(r.Samples, newSample(at, c))
	return nil
}

// Grown is by how much a counter of rtcd grew, given as in /metrics, name and labels.
func (r *Report) Grown(metric string) float64 { return r.grown[metric] }

// Lost is the count of a Loss, 0 if it is not there.
func (r *Report) Lost(name string) (n int64) {
	for _, l := range r.Losses {
		if l.Name == name {
			n += l.Count
		}
	}
	return n
}

// What may come on top in the course of a run: the collector's and the kernel's rounding,
// and scrapes of the metrics.
const (
	mayGrowShare       = 0.1
	mayGrowBytes       = 4 << 20
	mayGrowGoroutines  = 8
	mayGrowDescriptors = 8
)

// Err is what is wrong with the run, nil if every packet is accounted for and came once
// and in order, and the server's memory, goroutines and descriptors stayed what they were.
func (r *Report) Err() error {
	var errs []error
	want := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	want(r.Sent > 0 && r.Received > 0, "sent %d, received %d", r.Sent, r.Received)
	want(r.Unexplained == 0, "%d packets are unexplained", r.Unexplained)
	want(r.Duplicates == 0, "%d packets came twice", r.Duplicates)
	want(r.Reordered == 0, "%d packets came after later ones", r.Reordered)
	want(r.Corrupt == 0, "%d packets came otherwise than sent", r.Corrupt)
	want(r.Left <= 0, "%.0f allocations are left", r.Left)
	first := r.Samples[min(1, len(r.Samples)-1)] // the second: buffers have grown by then
	for _, s := range append(slices.Clone(r.Samples), r.Released) {
		if s.At != 0 && s.At < first.At {
			continue
		}
		want(s.Resident <= (1+mayGrowShare)*first.Resident+mayGrowBytes, "memory grew from %s to %s", mebibytes(first.Resident), mebibytes(s.Resident))
		want(s.Goroutines <= first.Goroutines+mayGrowGoroutines, "goroutines grew from %.0f to %.0f", first.Goroutines, s.Goroutines)
		want(s.Descriptors <= first.Descriptors+mayGrowDescriptors, "descriptors grew from %.0f to %.0f", first.Descriptors, s.Descriptors)
	}
	want(r.Released.Descriptors <= r.Idle.Descriptors+mayGrowDescriptors, "%.0f descriptors before, %.0f after the allocations", r.Idle.Descriptors, r.Released.Descriptors)
	return errors.Join(errs...)
}

// String is the account as two tables in Markdown.
func (r *Report) String() string {
	var b strings.Builder
	o := r.Options
	fmt.Fprintf(&b, "%d allocations (%d calls through the relay alone, %d peers outside), %d B, %.0f packets/s wanted, %.0f sent, %.0f s.\n\n",
		2*o.Calls+o.Outside, o.Calls, o.Outside, o.Size, o.Rate, float64(r.Sent)/r.Seconds, r.Seconds)
	b.WriteString("| packets | |\n|---|--:|\n")
	row := func(name string, n any) { fmt.Fprintf(&b, "| %s | %d |\n", name, n) }
	row("sent", r.Sent)
	row("received", r.Received)
	for _, l := range r.Losses {
		row("lost: "+l.Name, l.Count)
	}
	row("**unexplained**", r.Unexplained)
	row("came twice", r.Duplicates)
	row("came after later ones", r.Reordered)
	row("came otherwise than sent", r.Corrupt)
	row("not sent: no room in the sender's kernel", r.NotSent)
	row("overflows of rtcd's sockets, as rtcd counts them", r.OverflowTold)
	row("written joined (GSO)", int64(r.Grown("rtcd_turn_gso_segments_total")))
	row("read joined (GRO)", int64(r.Grown("rtcd_turn_gro_segments_total")))
	b.WriteString("\n| time | resident memory | goroutines | descriptors |\n|---|--:|--:|--:|\n")
	usage := func(when string, s Sample) {
		fmt.Fprintf(&b, "| %s | %s | %.0f | %.0f |\n", when, mebibytes(s.Resident), s.Goroutines, s.Descriptors)
	}
	usage("before the allocations", r.Idle)
	for _, s := range r.Samples {
		usage(s.At.Round(time.Second).String(), s)
	}
	usage("after the allocations", r.Released)
	return b.String()
}

func mebibytes(bytes float64) string { return fmt.Sprintf("%.1f MiB", bytes/(1<<20)) }

func sortedNames(c counters) []string { return slices.Sorted(maps.Keys(c)) }
