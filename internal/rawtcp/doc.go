// Package rawtcp reads and writes TCP connections with raw system calls on Linux, and
// leaves them as they are elsewhere.
//
// Such calls take microseconds and never block. Those of package net tell the scheduler
// each time, and where the machine idles between packets that wakes a thread of the
// runtime. Waiting, and so the deadlines, stays with the netpoller. There is nothing to
// shut down: a Conn ends as the connection under it does.
package rawtcp

// Trier is what Wrap returns where writes need not wait.
type Trier interface {
	// TryWrite writes what there is room for, at once, and returns how many bytes that
	// were. No deadline applies. A Write must not be under way.
	TryWrite(b []byte) (int, error)
}
