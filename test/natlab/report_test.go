package natlab

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// table is one of the report's; it has no rows if the tests that fill it have not run.
type table struct {
	title, about string
	columns      []string
	rows         [][]string
}

// goOnly and the like are the cells that tell whose client is at which end.
const (
	goOnly       = "Go – Go"
	goChromium   = "Go – Chromium"
	chromiumOnly = "Chromium – Chromium"
)

// The report's tables, in its order.
var (
	natPairs = &table{
		title:   "Pairs of NATs",
		about:   "Connected after: from the moment that both are in the room until the data channel is open at both ends.",
		columns: []string{"clients", "first", "second", "path", "connected after"},
	}
	firewalls = &table{
		title:   "Firewalls",
		about:   "What is dropped in front of each client; both are behind port-restricted NATs.",
		columns: []string{"clients", "first drops", "second drops", "path", "connected after"},
	}
	badLines = &table{
		title:   "Bad lines",
		about:   "Loss in each direction of the first client's line, and delay each way.",
		columns: []string{"clients", "NATs", "loss", "delay", "calls", "connected", "paths", "median", "slowest"},
	}
	moves = &table{
		title: "The network changes in mid-call",
		about: "Signaling: until the session was resumed as the same peer. Data: until 200,000 bytes had passed each way. Our Go client\n" +
			"takes a socket for dead after 3 s and a path after pion's 5 s; Chromium and the SDK have their own ways.",
		columns: []string{"clients", "change", "path", "path after", "signaling after", "data after"},
	}
	halfOpen = &table{
		title:   "Half-open connections",
		columns: []string{"what", "figure"},
	}
	tables = []*table{natPairs, firewalls, badLines, moves, halfOpen}

	recording sync.Mutex // guards rows of all tables
)

// record adds a row, and says it in the test's log.
func record(t *testing.T, to *table, cells ...any) {
	t.Helper()
	var row []string
	for _, c := range cells {
		if d, ok := c.(time.Duration); ok {
			c = fmt.Sprintf("%.1f s", d.Seconds())
		}
		row = append(row, fmt.Sprint(c))
	}
	t.Log(strings.Join(row, " | "))
	recording.Lock()
	defer recording.Unlock()
	to.rows = append(to.rows, row)
}

// writeReport writes the tables into the directory that RTCD_NATLAB_RESULTS names, if it does.
func writeReport() error {
	dir := os.Getenv("RTCD_NATLAB_RESULTS")
	if dir == "" {
		return nil
	}
	var kernel unix.Utsname
	if err := unix.Uname(&kernel); err != nil {
		return err
	}
	chromium, err := exec.Command("chromium", "--version").Output()
	if err != nil {
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# Calls through NATs, %s\n\n", time.Now().Format(time.DateOnly))
	fmt.Fprintf(&b, "By `make natlab` on Linux %s, %d cores, %s, %s. All in namespaces of one machine, where a round trip takes\nunder a millisecond. ",
		unix.ByteSliceToString(kernel.Release[:]), runtime.NumCPU(), runtime.Version(), strings.TrimSpace(string(chromium)))
	b.WriteString("A path names for each end how it takes part: relay/udp, relay/tcp or relay/tls, where it uses its relayed\n" +
		"address and reaches the relay by that; else as what the other end sees it.\n")
	for _, t := range tables {
		if len(t.rows) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n## %s\n\n", t.title)
		if t.about != "" {
			fmt.Fprintf(&b, "%s\n\n", t.about)
		}
		line := func(cells []string) { fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | ")) }
		line(t.columns)
		line(slices.Repeat([]string{"---"}, len(t.columns)))
		for _, row := range t.rows {
			line(row)
		}
	}
	name := cmp.Or(os.Getenv("RTCD_NATLAB_NAME"), "natlab-"+time.Now().Format(time.DateOnly)) + ".md"
	return os.WriteFile(filepath.Join(dir, name), []byte(b.String()), 0o644)
}
