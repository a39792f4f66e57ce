package loads

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// row is one of the programme's, with what was measured.
type row struct {
	t        *testing.T
	id, what string
	figures  []string
	detail   string // tables of its own, below the report's
	verdict  string
}

var report struct {
	mu   sync.Mutex // guards rows
	rows []*row
}

// newRow begins a row. Its verdict is that of the test.
func newRow(t *testing.T, id, what string) *row {
	r := &row{t: t, id: id, what: what}
	t.Cleanup(func() {
		r.verdict = "held"
		if t.Failed() {
			r.verdict = "**failed**"
		}
		report.mu.Lock()
		defer report.mu.Unlock()
		report.rows = append(report.rows, r)
	})
	return r
}

// figure adds one that was measured, and says it in the test's log.
func (r *row) figure(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	r.t.Logf("%s: %s", r.id, text)
	r.figures = append(r.figures, text)
}

// place is where a row stands in the table: loads, faults, drains, each by number.
func (r *row) place() int {
	n := 0
	fmt.Sscanf(r.id[1:], "%d", &n)
	return 100*strings.IndexByte("LFD", r.id[0]) + n
}

// writeReport writes the table into the directory that RTCD_LOADS_RESULTS names, if it does.
func writeReport() error {
	dir := os.Getenv("RTCD_LOADS_RESULTS")
	if dir == "" {
		return nil
	}
	var kernel unix.Utsname
	if err := unix.Uname(&kernel); err != nil {
		return err
	}
	load, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# Loads and faults, %s\n\n", time.Now().UTC().Format("2006-01-02 15:04 UTC"))
	fmt.Fprintf(&b, "By `%s` on Linux %s, %d cores, %s; the machine's load at the end was %s.\nServer and generator share the cores.\n\n",
		cmp.Or(os.Getenv("RTCD_LOADS_BY"), "make lab"), unix.ByteSliceToString(kernel.Release[:]), runtime.NumCPU(), runtime.Version(), strings.Join(strings.Fields(string(load))[:3], " "))
	b.WriteString("| row | what was done | measured | verdict |\n|---|---|---|---|\n")
	slices.SortStableFunc(report.rows, func(x, y *row) int { return cmp.Compare(x.place(), y.place()) })
	for _, r := range report.rows {
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", r.id, r.what, strings.Join(r.figures, "; "), r.verdict)
	}
	for _, r := range report.rows {
		if r.detail != "" {
			fmt.Fprintf(&b, "\n## %s\n\n%s", r.id, r.detail)
		}
	}
	name := cmp.Or(os.Getenv("RTCD_LOADS_NAME"), "loads-"+time.Now().UTC().Format(time.DateOnly)) + ".md"
	return os.WriteFile(filepath.Join(dir, name), []byte(b.String()), 0o644)
}

// seconds and millis are durations as people read them.
func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }
func millis(d time.Duration) string  { return fmt.Sprintf("%.1f ms", d.Seconds()*1000) }

func mebibytes(bytes float64) string { return fmt.Sprintf("%.1f MiB", bytes/(1<<20)) }

// quantile is the value below which a share of the values is. It sorts them.
func quantile[T cmp.Ordered](values []T, share float64) (v T) {
	if len(values) == 0 {
		return v
	}
	slices.Sort(values)
	return values[min(len(values)-1, int(share*float64(len(values))))]
}
