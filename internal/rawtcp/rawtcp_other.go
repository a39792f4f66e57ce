//go:build !linux

package rawtcp

import "net"

// Wrap returns nc.
func Wrap(nc net.Conn) net.Conn { return nc }
