package rawtcp

import "net"

// TCP returns the TCP connection that nc is, or stands for: whose bytes it says are its own,
// as one does that only has another address. Else it returns nil.
func TCP(nc net.Conn) *net.TCPConn {
	for {
		switch c := nc.(type) {
		case *net.TCPConn:
			return c
		case interface{ Transparent() net.Conn }:
			nc = c.Transparent()
		default:
			return nil
		}
	}
}
