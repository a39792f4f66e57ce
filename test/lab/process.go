package lab

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Process is a running program whose output is kept.
type Process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when the program has ended
	err  error         // valid after done

	mu    sync.Mutex // guards what follows
	out   strings.Builder
	grown chan struct{} // closed and replaced at every write
}

// Start starts a program in a process group of its own. It dies with the test binary.
func Start(cmd *exec.Cmd) (*Process, error) {
	p := &Process{cmd: cmd, done: make(chan struct{}), grown: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p, p
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = 5 * time.Second // for grandchildren that keep the output open
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	// Owned by the Process; ends with the program.
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// Write takes a piece of the program's output.
func (p *Process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.out.Write(b)
	close(p.grown)
	p.grown = make(chan struct{})
	return len(b), nil
}

// Output is all that the program has written so far, both streams.
func (p *Process) Output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

// Await waits until the output matches the pattern and returns the submatches. It fails when the program ends first.
func (p *Process) Await(ctx context.Context, pattern string) ([]string, error) {
	re := regexp.MustCompile(pattern)
	for {
		p.mu.Lock()
		text, grown := p.out.String(), p.grown
		p.mu.Unlock()
		if m := re.FindStringSubmatch(text); m != nil {
			return m, nil
		}
		select {
		case <-grown:
		case <-p.done:
			if m := re.FindStringSubmatch(p.Output()); m != nil {
				return m, nil
			}
			return nil, fmt.Errorf("%s ended (%w) before it said %q:\n%s", p.name(), p.err, pattern, p.Output())
		case <-ctx.Done():
			return nil, fmt.Errorf("%s did not say %q: %w\n%s", p.name(), pattern, ctx.Err(), p.Output())
		}
	}
}

// Ended is closed when the program has ended.
func (p *Process) Ended() <-chan struct{} { return p.done }

// Wait waits for the program's own end and returns its error.
func (p *Process) Wait(ctx context.Context) error {
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		return fmt.Errorf("%s still runs: %w", p.name(), ctx.Err())
	}
}

// Interrupt sends SIGINT and waits for the program's own end; it returns the program's error.
func (p *Process) Interrupt(ctx context.Context) error {
	if err := p.cmd.Process.Signal(syscall.SIGINT); err != nil {
		return err
	}
	return p.Wait(ctx)
}

// Stop kills the program with its group and waits for its end.
func (p *Process) Stop() error {
	err := syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.done
	if errors.Is(err, syscall.ESRCH) {
		return nil
	}
	return err
}

func (p *Process) name() string {
	return strings.Join(p.cmd.Args[:min(len(p.cmd.Args), 6)], " ")
}
