// Package rawtcp reads and writes TCP connections with raw system calls on Linux, and
// leaves them as they are elsewhere.
//
// Such calls take microseconds and never block. Those of package net tell the scheduler
// each time, and where the machine idles between packets that wakes a thread of the
// runtime. Waiting, and so the deadlines, stays with the netpoller. There is nothing to
// shut down: a Conn ends as the connection under it does.
package rawtcp

import "errors"

// Trier is what Wrap returns where reads and writes need not wait.
type Trier interface {
	// TryWrite writes what there is room for, at once, and returns how many bytes that
	// were. No deadline applies. A Write must not be under way.
	TryWrite(b []byte) (int, error)

	// Each calls f at once, and then each time that something may have come, until f returns
	// true. It returns an error when the connection is closed or its read deadline passes. It
	// is a Read under way, and Close waits for that: so f must not wait for the Close of this
	// connection or of another.
	Each(f func() (done bool)) error

	// TryRead reads what is there, in an Each's f only; ErrNothing if there is nothing. When it
	// has not filled b, f may return at once, and is called again when more comes. Only an
	// end that came together with those bytes is then not seen before the deadline.
	TryRead(b []byte) (int, error)
}

// ErrNothing is TryRead's when nothing has come.
var ErrNothing = errors.New("nothing has come")
