package mux

import (
	"io"
	"net"

	"golang.org/x/sys/unix"
)

// peek waits for the first byte of a connection, and leaves it there if it can: then taken
// is nil. HTTP gets a plain *net.TCPConn so.
func peek(nc net.Conn) (first byte, taken []byte, err error) {
	t, ok := nc.(*net.TCPConn)
	if through, is := nc.(*proxied); is {
		t, ok = through.Conn.(*net.TCPConn)
	}
	if !ok {
		return take(nc)
	}
	raw, err := t.SyscallConn()
	if err != nil {
		return 0, nil, err
	}
	var b [1]byte
	var n int
	var fault error
	err = raw.Read(func(fd uintptr) bool {
		for {
			n, _, fault = unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
			if fault != unix.EINTR {
				return fault != unix.EAGAIN
			}
		}
	})
	switch {
	case err != nil:
		return 0, nil, err
	case fault != nil:
		return 0, nil, fault
	case n == 0:
		return 0, nil, io.EOF
	}
	return b[0], nil, nil
}
