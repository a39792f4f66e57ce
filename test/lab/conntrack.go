package lab

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// ctDelete is the netlink message that deletes connections: subsystem 1 of nfnetlink is conntrack, command 2 is
// delete. Without attributes it means all of IPv4 and IPv6 in this namespace.
const ctDelete = 1<<8 | 2

// forgetConnections empties the connection table of the gateway, and with it the mappings.
func (g *gateway) forgetConnections() error {
	err := g.Do(func() error {
		fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
		if err != nil {
			return err
		}
		defer func() { _ = unix.Close(fd) }()
		// struct nlmsghdr, then struct nfgenmsg: family, version and resource id, all 0.
		const size = unix.SizeofNlMsghdr + 4
		msg := binary.NativeEndian.AppendUint32(nil, size)
		msg = binary.NativeEndian.AppendUint16(msg, ctDelete)
		msg = binary.NativeEndian.AppendUint16(msg, unix.NLM_F_REQUEST|unix.NLM_F_ACK)
		msg = append(msg, make([]byte, size-len(msg))...)
		if err := unix.Sendto(fd, msg, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
			return err
		}
		answer := make([]byte, 4096)
		n, _, err := unix.Recvfrom(fd, answer, 0)
		if err != nil {
			return err
		}
		if n < unix.SizeofNlMsghdr+4 || binary.NativeEndian.Uint16(answer[4:]) != unix.NLMSG_ERROR {
			return errors.New("not an acknowledgement")
		}
		if code := int32(binary.NativeEndian.Uint32(answer[unix.SizeofNlMsghdr:])); code != 0 {
			return unix.Errno(-code)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("forget the connections of %s: %w", g.ns, err)
	}
	return nil
}
