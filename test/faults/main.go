package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

func main() {
	source := flag.String("source", "..", "`folder` of the main module")
	fuzztime := flag.Duration("fuzztime", 30*time.Second, "how long a fuzzer may take")
	only := flag.String("only", "", "plant only the faults whose name holds this `text`")
	workers := flag.Int("parallel", 2, "fuzzing `processes` at once")
	out := flag.String("out", "", "write the table to this `file`, too")
	flag.Parse()
	if err := run(*source, *out, *only, *fuzztime, *workers); err != nil {
		fmt.Fprintln(os.Stderr, "faults:", err)
		os.Exit(1)
	}
}

// run plants, fuzzes and reports; it fails when a fault no longer applies, when a
// fuzzer complains without a fault, or when one is not found.
func run(source, out, only string, fuzztime time.Duration, workers int) error {
	if err := allApply(source); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "faults-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := copyModule(source, dir); err != nil {
		return err
	}
	var table strings.Builder
	fmt.Fprintf(&table, "| planted fault | fuzzer | found | by | seconds | executions |\n|---|---|---|---|---|---|\n")
	missed := 0
	for _, f := range faults {
		if !strings.Contains(f.name, only) {
			continue
		}
		r, err := f.try(dir, fuzztime, workers)
		if err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
		if !r.found {
			missed++
		}
		row := fmt.Sprintf("| %s | %s | %s | %s | %.1f | %s |\n", f.name, f.fuzzer, yes(r.found), r.by, r.took.Seconds(), r.executions)
		fmt.Print(row)
		table.WriteString(row)
	}
	if out != "" {
		text := fmt.Sprintf("# Planted faults\n\nEach alone, in a copy of the source, for at most %v with %d processes; `make faults` wrote this.\n\n%s", fuzztime, workers, table.String())
		if err := os.WriteFile(out, []byte(text), 0o644); err != nil {
			return err
		}
	}
	if missed > 0 {
		return fmt.Errorf("%d faults were not found", missed)
	}
	return nil
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "**no**"
}

// allApply checks every replacement before anything runs.
func allApply(source string) error {
	var all []error
	for _, f := range faults {
		for _, c := range f.changes {
			text, err := os.ReadFile(filepath.Join(source, c.file))
			if err != nil {
				all = append(all, fmt.Errorf("%s: %w", f.name, err))
			} else if n := bytes.Count(text, []byte(c.old)); n != 1 {
				all = append(all, fmt.Errorf("%s: %s holds %q %d times, want once", f.name, c.file, c.old, n))
			}
		}
	}
	return errors.Join(all...)
}

// copyModule copies the main module without its history and without module test.
func copyModule(source, dir string) error {
	return filepath.WalkDir(source, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(source, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			if rel == "test" || rel != "." && strings.HasPrefix(d.Name(), ".") || d.Name() == "node_modules" {
				return filepath.SkipDir
			}
			return os.MkdirAll(filepath.Join(dir, rel), 0o755)
		}
		if !d.Type().IsRegular() {
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, rel), data, 0o644)
	})
}

// result is what a fuzzer made of a fault.
type result struct {
	found      bool
	by         string // a seed of the corpus, or new input
	took       time.Duration
	executions string
}

// try plants the fault in the copy, fuzzes, and takes it out again.
func (f *fault) try(dir string, fuzztime time.Duration, workers int) (result, error) {
	for _, c := range f.changes {
		name := filepath.Join(dir, c.file)
		before, err := os.ReadFile(name)
		if err != nil {
			return result{}, err
		}
		defer os.WriteFile(name, before, 0o644)
		if err := os.WriteFile(name, bytes.Replace(before, []byte(c.old), []byte(c.planted), 1), 0o644); err != nil {
			return result{}, err
		}
	}
	binary := filepath.Join(dir, "fuzz.test")
	build := exec.Command("go", "test", "-c", "-fuzz", "^"+f.fuzzer+"$", "-o", binary, "./"+f.folder)
	build.Dir = dir
	if text, err := build.CombinedOutput(); err != nil {
		return result{}, fmt.Errorf("does not build: %w\n%s", err, text)
	}
	cache, err := os.MkdirTemp(dir, "cache-")
	if err != nil {
		return result{}, err
	}
	defer os.RemoveAll(cache)
	ctx, cancel := context.WithTimeout(context.Background(), 2*fuzztime+time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, "-test.run=^$", "-test.fuzz=^"+f.fuzzer+"$", "-test.fuzzcachedir="+cache,
		"-test.fuzztime="+fuzztime.String(), "-test.fuzzminimizetime=1x", fmt.Sprintf("-test.parallel=%d", workers))
	cmd.Dir = filepath.Join(dir, f.folder)
	start := time.Now()
	text, err := cmd.CombinedOutput()
	took := time.Since(start)
	var exit *exec.ExitError
	switch {
	case err == nil:
		return result{false, "", took, executions(text)}, nil
	case !errors.As(err, &exit) || !bytes.Contains(text, []byte("--- FAIL: "+f.fuzzer)) || ctx.Err() != nil:
		return result{}, fmt.Errorf("the fuzzer itself failed: %w\n%s", err, text)
	}
	removeFinds(filepath.Join(dir, f.folder, "testdata", "fuzz", f.fuzzer), text)
	if m := seed.FindSubmatch(text); m != nil {
		return result{true, "seed " + string(m[1]), took, "seeds only"}, nil
	}
	return result{true, "new input", took, executions(text)}, nil
}

var (
	seed    = regexp.MustCompile(`failure while testing seed corpus entry: \w+/(?:seed)?(\S+)`)
	execs   = regexp.MustCompile(`execs: (\d+)`)
	written = regexp.MustCompile(`Failing input written to testdata/fuzz/\w+/(\w+)`)
)

// executions is the last count that the fuzzer printed, which it does every 3 s.
func executions(text []byte) string {
	all := execs.FindAllSubmatch(text, -1)
	if len(all) == 0 {
		return "in the first 3 s"
	}
	return string(all[len(all)-1][1])
}

// removeFinds takes the input that was found out of the corpus: it must not help
// with the next fault.
func removeFinds(corpus string, text []byte) {
	for _, m := range written.FindAllSubmatch(text, -1) {
		os.Remove(filepath.Join(corpus, string(m[1])))
	}
}
