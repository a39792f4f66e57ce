package machine

import (
	"golang.org/x/sys/unix"
)

// OpenFiles is how many descriptors this process may have. Go raises the soft limit to
// the hard one at start.
func OpenFiles() (most uint64, ok bool) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0, false
	}
	return limit.Cur, true
}

// ReceiveBuffer is how many bytes of buffer the kernel gives to a UDP socket of this
// process that asks for so many. It counts twice what was asked for.
func ReceiveBuffer(want int) (got int, ok bool) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, false
	}
	defer unix.Close(fd)
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, want) != nil {
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, want)
	}
	doubled, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
	return doubled / 2, err == nil
}

// Synchronized tells whether the kernel's clock is kept by somebody, like a time
// daemon or the host of a virtual machine.
func Synchronized() (yes, ok bool) {
	var t unix.Timex // modes 0: only look
	if _, err := unix.Adjtimex(&t); err != nil {
		return false, false
	}
	return t.Status&unix.STA_UNSYNC == 0, true
}
