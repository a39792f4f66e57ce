//go:build !linux

package turnsrv

import (
	"math"
	"syscall"
)

func streamSockopts(_, _ string, _ syscall.RawConn) error { return nil }

// maxDescriptors is how many descriptors the process may have; here nobody knows.
func maxDescriptors() int { return math.MaxInt32 }
