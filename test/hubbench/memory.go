//go:build linux

package main

import (
	"fmt"
	"sync"
	"time"
)

const (
	roomOf  = 10 // idle sessions share a room with so many
	dialers = 16
)

// measureMemory opens idle sessions and reads by how much the server has grown.
func measureMemory(o options, p *process) (sample, error) {
	s := sample{Server: p.server.name, TLS: p.tls != nil, Sessions: o.sessions}
	before, err := residentBytes(p.cmd.Process.Pid)
	if err != nil {
		return s, err
	}
	cpu, err := cpuTime(p.cmd.Process.Pid)
	if err != nil {
		return s, err
	}
	w, err := visit(p, o.sessions)
	if err != nil {
		return s, err
	}
	defer w.disperse()
	opened, err := cpuTime(p.cmd.Process.Pid)
	if err != nil {
		return s, err
	}
	s.OpenedPerCPU = float64(o.sessions) / (opened - cpu).Seconds()
	time.Sleep(o.settle)
	after, err := residentBytes(p.cmd.Process.Pid)
	s.PerSession = float64(after-before) / float64(o.sessions)
	if failed := w.failed.Load(); failed != nil {
		err = *failed
	}
	return s, err
}

// visit opens n sessions in rooms of ten, and listens to each from its beginning.
func visit(p *process, n int) (*crowd, error) {
	w := &crowd{}
	for range (n + roomOf - 1) / roomOf {
		w.groups = append(w.groups, &group{stop: &w.stop, fan: 1})
	}
	var (
		wg     sync.WaitGroup
		mu     sync.Mutex // guards the following, and the groups
		next   int
		failed error
	)
	for range dialers {
		wg.Add(1)
		// Ends when all are connected, or at the first failure.
		go func() {
			defer wg.Done()
			for {
				mu.Lock()
				k := next
				next++
				done := k >= n || failed != nil
				mu.Unlock()
				if done {
					return
				}
				c, err := dial(p, fmt.Sprintf("room%d", k/roomOf))
				mu.Lock()
				if err != nil {
					failed = err
				} else {
					g := w.groups[k/roomOf]
					g.members = append(g.members, c)
					w.listen(c, func(int) {})
				}
				mu.Unlock()
			}
		}()
	}
	wg.Wait()
	if failed != nil {
		w.disperse()
	}
	return w, failed
}
