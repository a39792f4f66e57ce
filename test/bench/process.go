//go:build linux

package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// pin binds every thread of this process to one core and gives it precedence.
// Threads made later inherit both.
func pin(core, nice int) error {
	var set unix.CPUSet
	set.Set(core)
	tasks, err := filepath.Glob("/proc/self/task/*")
	if err != nil {
		return err
	}
	for _, t := range tasks {
		tid, err := strconv.Atoi(filepath.Base(t))
		if err != nil {
			return err
		}
		if err := unix.SchedSetaffinity(tid, &set); err != nil {
			return fmt.Errorf("pin to core %d: %w", core, err)
		}
		if err := unix.Setpriority(unix.PRIO_PROCESS, tid, nice); err != nil {
			return fmt.Errorf("nice %d: %w", nice, err)
		}
	}
	return nil
}

// favour sets the nice value of the autogroup that a process is in, where the kernel
// has autogroups: among sessions only that counts. It returns the value before.
func favour(pid, nice int) int {
	path := fmt.Sprintf("/proc/%d/autogroup", pid)
	before := 0
	if text, err := os.ReadFile(path); err == nil {
		if f := strings.Fields(string(text)); len(f) == 3 {
			before, _ = strconv.Atoi(f[2])
		}
		os.WriteFile(path, []byte(strconv.Itoa(nice)), 0)
	}
	return before
}

// cpuTime is the CPU time that all threads of a process have used.
func cpuTime(pid int) (time.Duration, error) {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(tasks) == 0 {
		return 0, fmt.Errorf("process %d: no threads", pid)
	}
	var sum time.Duration
	for _, path := range tasks {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // a thread that just ended
		}
		ns, err := strconv.ParseInt(strings.Fields(string(text))[0], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", path, err)
		}
		sum += time.Duration(ns)
	}
	return sum, nil
}

// softirqThread is the process id of the ksoftirqd of a core, 0 if not found.
func softirqThread(core int) int {
	want := fmt.Sprintf("ksoftirqd/%d\n", core)
	names, _ := filepath.Glob("/proc/[0-9]*/comm")
	for _, path := range names {
		if text, _ := os.ReadFile(path); string(text) == want {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			return pid
		}
	}
	return 0
}

// ownTime is the CPU time that this process has used.
func ownTime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}

// residentBytes is the resident memory of a process, from /proc/PID/smaps_rollup.
func residentBytes(pid int) (uint64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, err
	}
	for s := bufio.NewScanner(bytes.NewReader(text)); s.Scan(); {
		if rest, ok := strings.CutPrefix(s.Text(), "Rss:"); ok {
			kib, err := strconv.ParseUint(strings.Fields(rest)[0], 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("process %d: no Rss", pid)
}
