//go:build !linux

package turnsrv

import "net"

func newRawTCP(nc net.Conn) net.Conn { return nc }
