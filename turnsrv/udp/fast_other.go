//go:build !linux

package udp

// fastSocket is what the Linux loop keeps in a Socket.
type fastSocket struct{}

// newFast falls back to plain sockets: there is no faster loop on this system.
func newFast(o Options) (Loop, error) { return newPlain(o), nil }
