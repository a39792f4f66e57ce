package udp

import (
	"errors"
	"syscall"
)

// isTaken knows WSAEADDRINUSE, and WSAEACCES, which Windows answers for a port
// that another socket holds exclusively.
func isTaken(err error) bool {
	const eaddrinuse, eacces = syscall.Errno(10048), syscall.Errno(10013)
	return errors.Is(err, eaddrinuse) || errors.Is(err, eacces)
}
