// Package portmap has the router of a home network forward ports to this machine, by
// NAT-PMP (RFC 6886) or UPnP IGD, and learns the router's own address of it.
//
// A [Mapper] is told with Set which ports are wanted. While its Run does, it finds the
// router, has it forward each port to the same port here, renews that before it lapses
// and takes it back when a port is no longer wanted or Run ends. [Mapper.Status] tells
// how it goes; IPv4 only, since IPv6 needs no mapping but a hole in the firewall, which
// neither protocol is commonly let make.
//
// What answers on the local network is believed only about itself: descriptions are
// bounded, fetched without a proxy and from private addresses alone.
package portmap
