// Package testnet is a network in memory: datagrams and byte streams between
// addresses, without a socket of the machine. Everything in it blocks on channels
// and condition variables, so that testing/synctest sees it block and can run the
// clock.
//
// The types to know: Net is one network; Packets is a datagram socket (of the shape
// that turnsrv/udp wants, and a net.PacketConn too); streams are net.Conn.
//
// It delivers at once and in order, loses only what a full queue (1,024 datagrams)
// or an unbound address loses, and knows no routes: every address is everywhere.
package testnet
