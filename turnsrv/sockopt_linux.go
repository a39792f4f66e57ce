package turnsrv

import (
	"math"
	"syscall"

	"golang.org/x/sys/unix"
)

// streamSockopts sets what accepted connections inherit. A peer that acknowledges
// nothing for 20 s is gone; and little waits in the kernel, where late media would
// only get later.
func streamSockopts(_, _ string, c syscall.RawConn) error {
	return c.Control(func(fd uintptr) {
		const userTimeout, notSent = 20_000, 128 << 10 // ms, bytes
		unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, userTimeout)
		unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, notSent)
	})
}

// maxDescriptors is how many descriptors the process may have.
func maxDescriptors() int {
	var l unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &l) != nil {
		return math.MaxInt32
	}
	return int(min(l.Cur, math.MaxInt32))
}
