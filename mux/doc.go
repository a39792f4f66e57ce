// Package mux lets HTTP and TURN share a port.
//
// A [Port] is a net.Listener of the connections that are HTTP, for an http.Server; those
// that are TURN it hands to its owner. Over TLS the protocol that client and server have
// agreed on (ALPN) decides where it can, since HTTP/2 says so: but browsers send none for
// turns:, so for all others the first byte that the client sends does, see [Judge]. That
// byte is put back: nothing that was read is lost.
//
// A client that has not shown what it is has [Options.Patience] for its handshake and as long
// again for its first byte, and of one address there are so many as [Visitors] allow.
//
// From a trusted proxy a connection begins with a PROXY header (protocol version 1 or 2,
// https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt), from then on it is its
// client's: see [Proxies].
//
// # Shutdown
//
// Close closes the listener and what has not shown yet what it is, and returns when all
// goroutines have.
//
// # What it does not do
//
// It knows neither protocol beyond the first byte, and chooses no certificates.
package mux
