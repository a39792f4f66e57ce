package signaling

import (
	"net"
	"syscall"
)

// descriptor returns access to the system's socket under conn, or nil if there is none
// that a lot could watch.
func descriptor(conn net.Conn) syscall.Conn {
	if !lotWorks {
		return nil
	}
	for {
		switch c := conn.(type) {
		case syscall.Conn:
			return c
		case interface{ NetConn() net.Conn }: // TLS
			conn = c.NetConn()
		default:
			return nil
		}
	}
}
