// Package probe is a TURN client's view of a server: it connects as a browser
// would, asks for a binding, allocates, permits, sends packets from one relayed
// address to another and back, and tells what it saw in plain words. If asked to, it also
// sends to a relayed address from outside, as a peer does.
//
// [ParseURL] reads an ICE URL into a [Target], [Run] probes one and returns a
// [Report]. The client is pion/turn's, an implementation that shares nothing with
// our server but the wire format, so that a fault of ours shows.
//
// Run takes no longer than its Options say, and when it returns, its sockets are
// closed, its goroutines have ended, and its allocations are given back.
package probe
