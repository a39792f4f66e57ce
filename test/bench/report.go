//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// report is what a run leaves behind.
type report struct {
	Date    string   `json:"date"`
	Machine machine  `json:"machine"`
	Rounds  int      `json:"rounds"`
	Window  string   `json:"window"`
	Servers []server `json:"servers"`
	Loads   []load   `json:"loads"`
	Samples []sample `json:"samples"`
}

// machine is where it ran.
type machine struct {
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Kernel string `json:"kernel"`
	Go     string `json:"go"`
}

func newReport(o options, servers []server, loads []load) *report {
	return &report{
		Date: time.Now().Format(time.DateOnly), Machine: thisMachine(),
		Rounds: o.rounds, Window: o.window.String(), Servers: servers, Loads: loads,
	}
}

func thisMachine() machine {
	m := machine{Cores: runtime.NumCPU(), Go: runtime.Version()}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		m.Kernel = unix.ByteSliceToString(u.Release[:])
	}
	text, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(text)) {
		if name, ok := strings.CutPrefix(line, "model name"); ok {
			m.CPU = strings.TrimLeft(strings.TrimSpace(name), ": ")
			break
		}
	}
	return m
}

// spread is a median and the range around it.
type spread struct{ Median, Min, Max float64 }

func newSpread(v []float64) spread {
	if len(v) == 0 {
		return spread{}
	}
	v = slices.Sorted(slices.Values(v))
	middle := v[len(v)/2]
	if len(v)%2 == 0 {
		middle = (v[len(v)/2-1] + v[len(v)/2]) / 2
	}
	return spread{middle, v[0], v[len(v)-1]}
}

// cell is one server under one load.
type cell struct {
	samples []sample // of all rounds that succeeded
	value   spread
	ratio   spread // to the first server, of each round by itself
	err     string // of the last round that failed
}

// of is the median of something of the samples.
func (c cell) of(f func(sample) float64) float64 {
	var list []float64
	for _, s := range c.samples {
		list = append(list, f(s))
	}
	return newSpread(list).Median
}

// cell gathers the rounds of one server and load.
func (r *report) cell(load, server string) cell {
	base := map[int]float64{}
	for _, s := range r.Samples {
		if s.Load == load && s.Server == r.Servers[0].Name && s.Err == "" {
			base[s.Round] = s.Value
		}
	}
	var c cell
	var values, ratios []float64
	for _, s := range r.Samples {
		switch {
		case s.Load != load || s.Server != server:
		case s.Err != "":
			c.err = s.Err
		default:
			c.samples = append(c.samples, s)
			values = append(values, s.Value)
			if base[s.Round] > 0 {
				ratios = append(ratios, s.Value/base[s.Round])
			}
		}
	}
	c.value, c.ratio = newSpread(values), newSpread(ratios)
	return c
}

// publish prints the table, and writes everything into the folder if there is one.
func (r *report) publish(o options) error {
	table := r.markdown()
	fmt.Print(table)
	if o.out == "" {
		return nil
	}
	figures, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	base := filepath.Join(o.out, o.name)
	return errors.Join(
		os.MkdirAll(o.out, 0o755),
		os.WriteFile(base+".md", []byte(table), 0o644),
		os.WriteFile(base+".json", append(figures, '\n'), 0o644),
		os.WriteFile(base+".svg", []byte(r.chart()), 0o644))
}

// markdown is the report for people.
func (r *report) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# TURN relays side by side, %s\n\n", r.Date)
	fmt.Fprintf(&b, "%s, %d cores, Linux %s, %s. %d rounds, interleaved; %s per measurement.\n",
		r.Machine.CPU, r.Machine.Cores, r.Machine.Kernel, r.Machine.Go, r.Rounds, r.Window)
	fmt.Fprintf(&b, "Each cell: median (least–most), × = median of the ratios to %s in the same round.\n", r.Servers[0].Name)
	fmt.Fprintf(&b, "Each server has one core. Floods offer 1.25 times what it can take, so there is loss.\n")
	b.WriteString("How it is measured, and what is charged to whom: test/bench/doc.go.\n\n")
	b.WriteString("| load | unit |")
	for _, s := range r.Servers {
		fmt.Fprintf(&b, " %s |", s.Name)
	}
	b.WriteString("\n|---|---|" + strings.Repeat("---|", len(r.Servers)) + "\n")
	for _, l := range r.Loads {
		fmt.Fprintf(&b, "| %s | %s |", l.Title, l.Unit)
		for i, s := range r.Servers {
			fmt.Fprintf(&b, " %s |", r.cell(l.ID, s.Name).text(i > 0))
		}
		b.WriteString("\n")
	}
	r.writeConditions(&b)
	b.WriteString("\n## Servers\n\n")
	for _, s := range r.Servers {
		fmt.Fprintf(&b, "- **%s** %s: `%s`", s.Name, s.Version, s.Command)
		if s.Note != "" {
			fmt.Fprintf(&b, " (%s)", s.Note)
		}
		b.WriteString("\n")
	}
	return b.String()
}

func (c cell) text(ratio bool) string {
	if len(c.samples) == 0 {
		if c.err != "" {
			return "failed: " + c.err
		}
		return "–"
	}
	text := fmt.Sprintf("%s (%s–%s)", number(c.value.Median), number(c.value.Min), number(c.value.Max))
	if ratio && c.ratio.Median > 0 {
		text += fmt.Sprintf(" **×%.2f**", c.ratio.Median)
	}
	if c.err != "" {
		text += " failed once: " + c.err
	}
	return text
}

// writeConditions tells what was offered, lost and left over.
func (r *report) writeConditions(b *strings.Builder) {
	b.WriteString("\n## Offered load, loss, and what the generator had left\n\n")
	b.WriteString("Medians: packets offered per second, loss, share of its core the server used, idle share of the generator's\n")
	b.WriteString("(which waits in a loop where the pace is even). Near 0 % idle and without loss the generator was the limit; the\n")
	b.WriteString("figure per CPU-second still stands.\n\n| load |")
	for _, s := range r.Servers {
		fmt.Fprintf(b, " %s |", s.Name)
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(r.Servers)) + "\n")
	for _, l := range r.Loads {
		fmt.Fprintf(b, "| %s |", l.ID)
		for _, s := range r.Servers {
			fmt.Fprintf(b, " %s |", r.cell(l.ID, s.Name).conditions())
		}
		b.WriteString("\n")
	}
}

func (c cell) conditions() string {
	if len(c.samples) == 0 {
		return "–"
	}
	var words []string
	if c.samples[0].Sent > 0 {
		words = append(words, number(c.of(sample.offered))+"/s",
			fmt.Sprintf("loss %.1f %%", 100*c.of(sample.loss)))
	}
	words = append(words,
		fmt.Sprintf("server %.0f %%", 100*c.of(sample.share)),
		fmt.Sprintf("idle %.0f %%", 100*c.of(func(s sample) float64 { return s.Idle })))
	if p99 := c.of(func(s sample) float64 { return s.P99 }); p99 > 0 {
		words = append(words, "p99 "+number(p99)+" µs")
	}
	return strings.Join(words, ", ")
}

// number writes a figure with about three digits: 1.47 M, 254 k, 36.2.
func number(v float64) string {
	switch {
	case v >= 1e6:
		return fmt.Sprintf("%.2f M", v/1e6)
	case v >= 1e5:
		return fmt.Sprintf("%.0f k", v/1e3)
	case v >= 1e4:
		return fmt.Sprintf("%.1f k", v/1e3)
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.1f", v)
}
