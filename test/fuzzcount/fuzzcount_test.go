package main

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Every fuzzer of the main module is found, none of this one.
func TestFind(t *testing.T) {
	list, err := find("../..", regexp.MustCompile(""))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range list {
		if strings.HasPrefix(f.dir, "test") {
			t.Errorf("%s is not of the main module", f.dir)
		}
		names = append(names, f.dir+" "+f.name)
	}
	for _, want := range []string{"turnsrv FuzzScanFrame", "turnsrv/relay FuzzSequence", "cmd/rtcd FuzzAPI", "signaling FuzzMessage"} {
		if !slices.Contains(names, want) {
			t.Errorf("%s is not among %q", want, names)
		}
	}
}

// The last count is the sum of all; what else is written is kept for the report.
func TestExecutions(t *testing.T) {
	begun := 0
	n, output, err := executions(strings.NewReader(`fuzz: elapsed: 0s, gathering baseline coverage: 0/12 completed
fuzz: elapsed: 3s, execs: 28412 (9470/sec), new interesting: 0 (total: 12)
fuzz: elapsed: 4s, execs: 40000 (9470/sec), new interesting: 1 (total: 13)
--- FAIL: FuzzX (4.00s)
`), func() { begun++ })
	if n != 40000 || !strings.Contains(output, "--- FAIL: FuzzX") || err != nil || begun != 1 {
		t.Errorf("%d, %q, %v; begun %d times", n, output, err, begun)
	}
}
