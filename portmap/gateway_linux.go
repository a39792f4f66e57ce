package portmap

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// defaultGateway is the IPv4 router of this machine.
func defaultGateway() (netip.Addr, error) {
	file, err := os.Open("/proc/net/route")
	if err != nil {
		return netip.Addr{}, err
	}
	defer file.Close()
	return parseRoutes(file)
}

// parseRoutes reads the kernel's table (proc_pid_net(5)), whose addresses are hexadecimal
// in the byte order of the machine:
//
//	Iface  Destination  Gateway   Flags  RefCnt  Use  Metric  Mask  …
//	eth0   00000000     0101A8C0  0003   0       0    100     00000000
func parseRoutes(r io.Reader) (best netip.Addr, err error) {
	lowest := uint64(1 << 32)
	for lines := bufio.NewScanner(r); lines.Scan(); {
		f := strings.Fields(lines.Text())
		if len(f) < 8 || f[1] != "00000000" || f[7] != "00000000" {
			continue
		}
		raw, err := hex.DecodeString(f[2])
		metric, err2 := strconv.ParseUint(f[6], 10, 32)
		if err != nil || err2 != nil || len(raw) != 4 || metric >= lowest {
			continue
		}
		var b [4]byte
		binary.NativeEndian.PutUint32(b[:], binary.BigEndian.Uint32(raw))
		if gateway := netip.AddrFrom4(b); !gateway.IsUnspecified() {
			best, lowest = gateway, metric
		}
	}
	if !best.IsValid() {
		return best, errors.New("no default gateway")
	}
	return best, nil
}
