package lab

import (
	"context"
	"fmt"
	"net"
	"runtime"

	"golang.org/x/sys/unix"
)

// Do runs f on a thread that has entered the node's network. Sockets which f opens stay in that network for good;
// goroutines which f starts do not enter it.
func (nd *Node) Do(f func() error) error {
	runtime.LockOSThread()
	home, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("own network namespace: %w", err)
	}
	defer func() { _ = unix.Close(home) }()
	there, err := unix.Open("/run/netns/"+nd.ns, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("network namespace %s: %w", nd.ns, err)
	}
	defer func() { _ = unix.Close(there) }()
	if err := unix.Setns(there, unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter %s: %w", nd.ns, err)
	}
	defer func() {
		// A thread that cannot go home stays locked, so that the runtime ends it with this goroutine.
		if unix.Setns(home, unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
	}()
	return f()
}

// ListenPacket opens a UDP socket in the node; address is an IP and a port, which may be 0.
func (nd *Node) ListenPacket(ctx context.Context, address string) (conn net.PacketConn, err error) {
	err = nd.Do(func() error {
		conn, err = (&net.ListenConfig{}).ListenPacket(ctx, "udp", address)
		return err
	})
	return conn, err
}

// Dial connects from the node; address must hold an IP, not a name: names are for programs in the node.
func (nd *Node) Dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	err = nd.Do(func() error {
		conn, err = (&net.Dialer{}).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}
