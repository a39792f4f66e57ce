// Package lab builds a small internet out of network namespaces, for tests that need real sockets, real browsers
// and addresses that look global.
//
// A [Net] is one router namespace and any number of [Node] namespaces hanging off it by veth pairs. Nodes get /32 and
// /128 addresses from 11.22.33.0/24 and 2a11:22:33::/64, because the ranges reserved for documentation are, rightly,
// refused as TURN peers. No namespace has a way out of the machine. Packets between two nodes cross the router, whose
// nftables are the [Net.Firewall] of a test.
//
// Names are given to every program in a node through /etc/netns/NODE/hosts. A [CA] signs the certificates of a lab.
// A [Process] is a program started in a node; it ends at [Process.Stop], at the latest with the test binary.
//
// [Net.Close] removes every namespace and file that the lab made. A lab that was killed before it could close is
// removed by the next one. Everything here needs Linux and root.
package lab
