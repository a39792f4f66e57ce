//go:build linux

package main

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// Layout of the chart, in pixels.
const (
	chartWidth = 880
	chartLeft  = 430 // where the bars begin
	chartTop   = 64
	barHeight  = 9
	rowGap     = 9
)

// chartStyle keeps to colours that can be read on a light page and on a dark one.
const chartStyle = `<style>
text { font: 12px system-ui, sans-serif; fill: #24292f }
.title { font-size: 15px; font-weight: 600 }
.quiet { fill: #57606a }
.line { stroke: #8c959f }
.grid { stroke: #8c959f; stroke-opacity: .3 }
.ours { fill: #1a7f37 }
.theirs { fill: #8c959f }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .quiet { fill: #9198a1 }
  .ours { fill: #3fb950 }
}
</style>`

// chart draws how many times as good as the first server ours and pion's are, on a
// logarithmic scale, or the inverse where a smaller figure is better. To stay short it
// leaves out small packets and 1000 allocations; the table has them.
func (r *report) chart() string {
	names := r.charted()
	var rows strings.Builder
	y, most := float64(chartTop), 1.0
	scale := r.chartScale(names)
	for _, l := range r.Loads {
		if strings.Contains(l.ID, "-160") || strings.HasSuffix(l.ID, "-1000") {
			continue
		}
		bars := ""
		at := y
		for _, name := range names {
			v := r.advantage(l, name)
			if v == 0 {
				continue
			}
			most = max(most, v)
			bars += bar(at, v, scale, name)
			at += barHeight + 2
		}
		if bars == "" {
			continue
		}
		fmt.Fprintf(&rows, `<text x="%d" y="%.0f" text-anchor="end">%s</text>%s`+"\n",
			chartLeft-12, (y+at)/2+3, html.EscapeString(l.Title), bars)
		y = at + rowGap
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %.0f" role="img">`+"\n%s\n", chartWidth, y+16, chartStyle)
	fmt.Fprintf(&b, `<text class="title" x="12" y="22">Work per CPU-second, %s = 1</text>`+"\n", html.EscapeString(r.Servers[0].Name+" "+r.Servers[0].Version))
	fmt.Fprintf(&b, `<text class="quiet" x="12" y="42">%s; medians of %d rounds, %s. Memory, latency and CPU: inverse.</text>`+"\n",
		legend(names), r.Rounds, html.EscapeString(r.Machine.CPU))
	for _, v := range []float64{0.5, 1, 2, 4, 8, 16} {
		if v > 1 && v > most {
			break
		}
		class := "grid"
		if v == 1 {
			class = "line"
		}
		x := scale.x(v)
		fmt.Fprintf(&b, `<line class="%s" x1="%.1f" x2="%.1f" y1="%d" y2="%.0f"/><text class="quiet" x="%.1f" y="%.0f" text-anchor="middle">×%g</text>`+"\n",
			class, x, x, chartTop-6, y-4, x, y+10, v)
	}
	b.WriteString(rows.String())
	b.WriteString("</svg>\n")
	return b.String()
}

// charted are the servers with bars.
func (r *report) charted() []string {
	var names []string
	for _, s := range r.Servers {
		if s.Name == "rtcd" || s.Name == "pion" {
			names = append([]string{s.Name}, names...)
		}
	}
	return names
}

// advantage is how many times as good a server is, 0 if not measured.
func (r *report) advantage(l load, name string) float64 {
	v := r.cell(l.ID, name).ratio.Median
	if l.Less && v > 0 {
		return 1 / v
	}
	return v
}

// logScale puts ratios on the page.
type logScale struct{ low, high float64 } // log2

func (r *report) chartScale(names []string) logScale {
	s := logScale{-1, 1}
	for _, l := range r.Loads {
		for _, name := range names {
			if v := r.advantage(l, name); v > 0 {
				s.low, s.high = min(s.low, math.Log2(v)), max(s.high, math.Log2(v))
			}
		}
	}
	return s
}

func (s logScale) x(v float64) float64 {
	const room = chartWidth - chartLeft - 60 // the rest is for the figure behind the longest bar
	return chartLeft + room*(math.Log2(v)-s.low)/(s.high-s.low)
}

// bar goes from 1 to v, with v written at its end.
func bar(y, v float64, scale logScale, name string) string {
	class := "theirs"
	if name == "rtcd" {
		class = "ours"
	}
	from, to := scale.x(1), scale.x(v)
	return fmt.Sprintf(`<rect class="%s" x="%.1f" y="%.0f" width="%.1f" height="%d"/><text x="%.1f" y="%.0f">%.2f</text>`,
		class, min(from, to), y, math.Abs(to-from), barHeight, max(from, to)+5, y+barHeight, v)
}

func legend(names []string) string {
	words := map[string]string{"rtcd": "green: rtcd", "pion": "grey: pion/turn's server"}
	var list []string
	for _, n := range names {
		list = append(list, words[n])
	}
	return strings.Join(list, ", ")
}
