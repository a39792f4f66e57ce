// Package leak fails the tests of a package that leave goroutines behind.
package leak

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// patience is how long goroutines may take to end after the last test.
const patience = 20 * time.Second

// Main is a package's TestMain. It runs the tests, then waits for all goroutines that
// run code of ours, an import path or the beginning of one.
func Main(m *testing.M, ours string) {
	code := m.Run()
	if code == 0 {
		if stacks := left(ours, patience); stacks != "" {
			fmt.Fprintln(os.Stderr, "goroutines left behind:\n"+stacks)
			code = 1
		}
	}
	os.Exit(code)
}

// left returns the stacks of the goroutines that have not ended in time.
func left(ours string, patience time.Duration) string {
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		stacks := running(ours)
		if stacks == "" || time.Now().After(deadline) {
			return stacks
		}
	}
}

func running(ours string) string {
	buf := make([]byte, 4<<20)
	var found []string
	for stack := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		if strings.Contains(stack, ours) && !strings.Contains(stack, ".TestMain(") {
			found = append(found, stack)
		}
	}
	return strings.Join(found, "\n\n")
}
