//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// sample is one measurement of one server.
type sample struct {
	Round  int
	Server string
	TLS    bool
	Load   string `json:",omitempty"` // "": memory

	Messages  int64   `json:",omitempty"` // received by clients
	Seconds   float64 `json:",omitempty"`
	CPU       float64 `json:",omitempty"` // seconds of the server
	PerCPU    float64 `json:",omitempty"` // messages per CPU-second
	PerSecond float64 `json:",omitempty"`
	Busy      float64 `json:",omitempty"` // share of its core that the server used
	Generator float64 `json:",omitempty"` // share of its core that the generator used

	Sessions     int     `json:",omitempty"`
	PerSession   float64 `json:",omitempty"` // bytes
	OpenedPerCPU float64 `json:",omitempty"`
}

func (s sample) String() string {
	name := s.Server
	if s.TLS {
		name += " (TLS)"
	}
	if s.Load == "" {
		return fmt.Sprintf("%-16s %-18s %8.1f KB a session, %.0f sessions opened per CPU-second",
			name, "idle sessions", s.PerSession/1024, s.OpenedPerCPU)
	}
	return fmt.Sprintf("%-16s %-18s %8.0f msg/CPU-s %8.0f msg/s, server %.0f %%, generator %.0f %% busy",
		name, s.Load, s.PerCPU, s.PerSecond, 100*s.Busy, 100*s.Generator)
}

// report is what one run of the bench found.
type report struct {
	Date     string
	Machine  string
	Versions map[string]string
	Rounds   int
	LoadAvg  [2]string // before and after
	Samples  []sample
}

func newReport(o options) *report {
	return &report{
		Date: time.Now().UTC().Format(time.DateOnly), Machine: machine(), Versions: versions(o),
		Rounds: o.rounds, LoadAvg: [2]string{loadAverage()},
	}
}

// publish prints the tables and, if there is a folder for it, keeps them.
func (r *report) publish(o options) error {
	r.LoadAvg[1] = loadAverage()
	text := r.markdown()
	fmt.Print(text)
	if o.out == "" {
		return nil
	}
	all, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(o.out, "hub.json"), append(all, '\n'), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(o.out, "hub.md"), []byte(text), 0o644)
}

func (r *report) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# The hub beside ws and socket.io\n\n")
	fmt.Fprintf(&b, "%s, %s. rtcd %s, ws %s, socket.io %s, Node %s, %s.\n", r.Date, r.Machine, r.Versions["rtcd"],
		r.Versions["ws"], r.Versions["socket.io"], r.Versions["node"], r.Versions["go"])
	fmt.Fprintf(&b, "%d rounds; load average before %s, after %s.\n", r.Rounds, r.LoadAvg[0], r.LoadAvg[1])
	fmt.Fprintf(&b, "Medians (min–max); × is the ratio to ws in the same run. A message carries a candidate of %d bytes.\n", len(data))
	for _, secure := range []bool{false, true} {
		title := "Plain"
		if secure {
			title = "TLS in process"
		}
		r.throughput(&b, title, secure)
		r.memory(&b, title, secure)
	}
	b.WriteString("\nThe loads:\n\n")
	for _, l := range allLoads {
		fmt.Fprintf(&b, "- **%s**: %s\n", l.name, l.what)
	}
	return b.String()
}

// throughput writes the table of the loads: thousands of messages per CPU-second.
func (r *report) throughput(b *strings.Builder, title string, secure bool) {
	perCPU := func(s sample) float64 { return s.PerCPU / 1000 }
	var rows []string
	for _, l := range allLoads {
		row := "| " + l.name
		base := r.pick("ws", l.name, secure, perCPU)
		for _, server := range allServers {
			v := r.pick(server.name, l.name, secure, perCPU)
			row += " | " + cell(v, base, "%.1f")
		}
		if own := r.pick("rtcd", l.name, secure, func(s sample) float64 { return 100 * s.Busy }); len(own) > 0 {
			generator := r.pick("rtcd", l.name, secure, func(s sample) float64 { return 100 * s.Generator })
			rows = append(rows, fmt.Sprintf("%s | %.0f %% / %.0f %% |", row, median(own), median(generator)))
		}
	}
	if len(rows) > 0 {
		fmt.Fprintf(b, "\n## %s: 1000 messages received per CPU-second of the server\n\n", title)
		b.WriteString("| load | rtcd | ws | socket.io | busy with rtcd: server / generator |\n|---|---|---|---|---|\n")
		b.WriteString(strings.Join(rows, "\n") + "\n")
	}
}

// memory writes the table of idle sessions.
func (r *report) memory(b *strings.Builder, title string, secure bool) {
	kinds := []struct {
		name  string
		value func(sample) float64
	}{
		{"KB a session", func(s sample) float64 { return s.PerSession / 1024 }},
		{"sessions opened per CPU-second", func(s sample) float64 { return s.OpenedPerCPU }},
	}
	if len(r.pick("rtcd", "", secure, kinds[0].value)) == 0 {
		return
	}
	fmt.Fprintf(b, "\n## %s: idle sessions, each in a room of %d\n\n", title, roomOf)
	b.WriteString("| | rtcd | ws | socket.io |\n|---|---|---|---|\n")
	for _, k := range kinds {
		fmt.Fprintf(b, "| %s", k.name)
		base := r.pick("ws", "", secure, k.value)
		for _, server := range allServers {
			fmt.Fprintf(b, " | %s", cell(r.pick(server.name, "", secure, k.value), base, "%.1f"))
		}
		b.WriteString(" |\n")
	}
}

// pick returns the values of a server's samples of a load, sorted.
func (r *report) pick(server, load string, secure bool, value func(sample) float64) []float64 {
	var out []float64
	for _, s := range r.Samples {
		if s.Server == server && s.Load == load && s.TLS == secure {
			out = append(out, value(s))
		}
	}
	slices.Sort(out)
	return out
}

func cell(v, base []float64, format string) string {
	if len(v) == 0 {
		return "–"
	}
	text := fmt.Sprintf(format, median(v))
	if len(v) > 1 {
		text += fmt.Sprintf(" ("+format+"–"+format+")", v[0], v[len(v)-1])
	}
	if len(base) > 0 {
		text += fmt.Sprintf(" **%.2f ×**", median(v)/median(base))
	}
	return text
}

// median is that of sorted values.
func median(v []float64) float64 {
	n := len(v)
	return (v[(n-1)/2] + v[n/2]) / 2
}

// machine tells processor, cores and kernel.
func machine() string {
	model := "unknown processor"
	text, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(text)) {
		if k, v, found := strings.Cut(line, ":"); found && strings.TrimSpace(k) == "model name" {
			model = strings.TrimSpace(v)
			break
		}
	}
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return fmt.Sprintf("%s, %d cores, Linux %s", model, runtime.NumCPU(), strings.TrimSpace(string(kernel)))
}

func loadAverage() string {
	text, _ := os.ReadFile("/proc/loadavg")
	first, _, _ := strings.Cut(string(text), " ")
	return first
}

func versions(o options) map[string]string {
	v := map[string]string{"go": runtime.Version(), "rtcd": output(o.rtcd, "version"), "node": output("node", "--version")}
	for _, name := range []string{"ws", "socket.io"} {
		var p struct{ Version string }
		text, _ := os.ReadFile(filepath.Join(o.peers, "node_modules", name, "package.json"))
		json.Unmarshal(text, &p)
		v[name] = p.Version
	}
	return v
}

func output(name string, args ...string) string {
	out, _ := exec.Command(name, args...).Output()
	first, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return strings.TrimPrefix(first, "rtcd ")
}
