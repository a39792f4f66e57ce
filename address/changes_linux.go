package address

import (
	"context"
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// changes is told when an address or a route of this machine has changed, and closed
// some time after ctx has ended; nil where the kernel does not tell.
func changes(ctx context.Context) <-chan struct{} {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil
	}
	groups := uint32(unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR | unix.RTMGRP_IPV4_ROUTE | unix.RTMGRP_IPV6_ROUTE)
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		unix.Close(fd)
		return nil
	}
	socket := os.NewFile(uintptr(fd), "netlink")
	stop := context.AfterFunc(ctx, func() { socket.Close() })
	out := make(chan struct{}, 1)
	// ctx owns it and ends it by closing the socket.
	go func() {
		defer close(out)
		defer stop()
		buf := make([]byte, 1<<16)
		for {
			_, err := socket.Read(buf)
			if ctx.Err() != nil {
				return
			}
			if err != nil && !isOverrun(err) {
				socket.Close()
				return
			}
			select { // what has changed, the machine is asked itself
			case out <- struct{}{}:
			default:
			}
		}
	}()
	return out
}

// isOverrun tells that more has changed than the socket could hold.
func isOverrun(err error) bool { return errors.Is(err, unix.ENOBUFS) }
