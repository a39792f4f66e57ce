// Package soak loads a running rtcd with many calls at once and accounts for every
// packet: what was sent is what arrived, once and in order, or what some counter of rtcd
// or of the kernel names as lost. Anything else is unexplained, and an error.
//
// [Run] makes real allocations from a client's node of a lab, relays numbered packets
// between them and to sockets in a peer's node, both ways, and returns a [Report], which
// writes itself as a table and knows its [Report.Err].
//
// # The account
//
// A packet can get lost in five places, each with its counter: in a device (what it
// dropped of what it was to send), in the IP and UDP layers of a namespace
// (/proc/net/snmp), at the socket of the receiver (RcvbufErrors), in rtcd
// (rtcd_turn_dropped_packets_total by reason), and when rtcd sends (its reason write_failed, and the
// device's count where the kernel does not tell the sender). What overflowed rtcd's own
// sockets shows twice, in the kernel's RcvbufErrors and in rtcd's reason overflow: the
// account takes the kernel's, and wants both to be equal.
//
// Run forbids the nodes' devices super-frames, unless its packets leave in bursts, since a
// device counts a lost one as one.
package soak
