//go:build !linux

package mux

import "net"

// peek waits for the first byte of a connection.
func peek(nc net.Conn) (first byte, taken []byte, err error) { return take(nc) }
