//go:build !linux

package portmap

import (
	"errors"
	"net/netip"
)

// defaultGateway is not known here; UPnP finds the router by itself.
func defaultGateway() (netip.Addr, error) {
	return netip.Addr{}, errors.New("the default gateway cannot be told on this system")
}
