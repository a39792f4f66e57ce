package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// fuzzer is one of the main module's, and what it has done.
type fuzzer struct {
	dir, name  string // dir is relative to the module
	executions int
	took       time.Duration
	late       bool // did not execute its last share in time
	hopeless   bool // has executed none of it
}

func main() {
	source := flag.String("source", "..", "the main module")
	total := flag.Int("total", 10_000_000, "executions wanted")
	longest := flag.Duration("longest", 2*time.Minute, "time of one fuzzer in one round")
	out := flag.String("out", "", "file for the table; empty = print only")
	only := flag.String("only", "", "run those whose name matches the pattern")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *source, *only, *total, *longest, *out); err != nil {
		fmt.Fprintln(os.Stderr, "fuzzcount:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, source, only string, total int, longest time.Duration, out string) error {
	pattern, err := regexp.Compile(only)
	if err != nil {
		return err
	}
	list, err := find(source, pattern)
	if err != nil || len(list) == 0 {
		return errors.Join(err, fmt.Errorf("%d fuzzers", len(list)))
	}
	begin := time.Now()
	for round := 1; sum(list) < total; round++ {
		var able []*fuzzer
		for _, f := range list {
			if round == 1 || !f.late {
				able = append(able, f)
			}
		}
		if len(able) == 0 { // then all of them, but those that do nothing at all
			for _, f := range list {
				if !f.hopeless {
					able = append(able, f)
				}
			}
		}
		if len(able) == 0 {
			return errors.New("no fuzzer executes anything")
		}
		share := (total-sum(list))/len(able) + 1
		for _, f := range able {
			if err := f.run(ctx, source, share, longest); err != nil {
				return err
			}
			fmt.Printf("%-40s %-28s %9d executions, %10d in all\n", f.dir, f.name, f.executions, sum(list))
		}
	}
	text := table(list, time.Since(begin))
	fmt.Print(text)
	if out == "" {
		return nil
	}
	return os.WriteFile(out, []byte(text), 0o644)
}

func sum(list []*fuzzer) (n int) {
	for _, f := range list {
		n += f.executions
	}
	return n
}

var declaration = regexp.MustCompile(`(?m)^func (Fuzz\w+)\(`)

// find lists the fuzzers of a module, but for those of modules below it.
func find(source string, only *regexp.Regexp) (list []*fuzzer, err error) {
	err = filepath.WalkDir(source, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			_, nested := os.Stat(filepath.Join(path, "go.mod"))
			if path != source && (nested == nil || d.Name()[0] == '.') {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		dir, err := filepath.Rel(source, filepath.Dir(path))
		for _, m := range declaration.FindAllStringSubmatch(string(text), -1) {
			if only.MatchString(m[1]) {
				list = append(list, &fuzzer{dir: dir, name: m[1]})
			}
		}
		return err
	})
	return list, err
}

// run has the fuzzer execute so many inputs more, as far as the time reaches.
func (f *fuzzer) run(ctx context.Context, source string, share int, longest time.Duration) error {
	cmd := exec.Command("go", "test", "-run", "^$", "-fuzz", "^"+f.name+"$", "-fuzztime", fmt.Sprintf("%dx", share),
		"-fuzzminimizetime", "1x", "-parallel", "1", "./"+filepath.ToSlash(f.dir))
	cmd.Dir = source
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // an interrupt is for all of it
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	cmd.Stderr = os.Stderr
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		return err
	}
	var cut bool
	enough := time.NewTimer(time.Hour) // for the build
	ended := make(chan struct{})
	watched := make(chan struct{})
	// run owns it; the end of the fuzzer ends it.
	go func() {
		defer close(watched)
		defer enough.Stop()
		select {
		case <-enough.C:
			cut = true
		case <-ctx.Done():
		case <-ended:
			return
		}
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) // it has ended, or will
	}()
	n, output, reading := executions(pipe, func() { enough.Reset(longest) })
	err = cmd.Wait()
	close(ended)
	<-watched
	f.executions += n
	f.took += time.Since(begin)
	f.late, f.hopeless = n < share, n == 0
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case strings.Contains(output, "--- FAIL") || strings.Contains(output, "panic:") || err != nil && !cut:
		return fmt.Errorf("%s in %s: %w\n%s", f.name, f.dir, errors.Join(err, reading, errFound), output)
	}
	return reading
}

var errFound = errors.New("the fuzzer has found something, or does not run")

var progress = regexp.MustCompile(`^fuzz: elapsed: .*, execs: (\d+) `)

// executions reads what `go test` writes, and returns the last count in it and the rest. It says when the fuzzer begins.
func executions(r io.Reader, begun func()) (n int, output string, err error) {
	var b strings.Builder
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for first := true; lines.Scan(); {
		if first && strings.HasPrefix(lines.Text(), "fuzz: ") {
			first = false
			begun()
		}
		if m := progress.FindStringSubmatch(lines.Text()); m != nil {
			if n, err = strconv.Atoi(m[1]); err != nil {
				return n, b.String(), err
			}
			continue
		}
		fmt.Fprintln(&b, lines.Text())
	}
	return n, b.String(), lines.Err()
}

func table(list []*fuzzer, took time.Duration) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Executions of the fuzzers, %s\n\n", time.Now().UTC().Format(time.DateOnly))
	fmt.Fprintf(&b, "By `make fuzz-count` with %s on %d cores, one process at a time: %d executions of %d fuzzers in %.0f minutes.\nNo crash, no hang, no wrong answer.\n\n",
		runtime.Version(), runtime.NumCPU(), sum(list), len(list), took.Minutes())
	b.WriteString("| package | fuzzer | executions | seconds |\n|---|---|--:|--:|\n")
	for _, f := range list {
		fmt.Fprintf(&b, "| %s | %s | %d | %.0f |\n", f.dir, f.name, f.executions, f.took.Seconds())
	}
	fmt.Fprintf(&b, "| | **sum** | **%d** | |\n", sum(list))
	return b.String()
}
