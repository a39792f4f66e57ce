// Package signaling is the hub: members meet in rooms over WebSocket, exchange
// what WebRTC needs to connect them, and get the relay's time-limited
// credentials. PROTOCOL.md describes what goes over the wire.
//
// The middle is pure: Tenant.Apply takes the time, a member and its Message and
// appends Deliveries; it has no socket, no clock and no goroutine. A Tenant holds
// the names, the members and the signals that wait; a Room holds its seats.
//
// Around it stands the shell. Hub accepts sockets, checks origins and tokens,
// and keeps the Sessions. A Session is a member's bounded queue (outbox) and the
// Transport that happens to carry it; it outlives a lost socket for the resume
// window. Delivering never blocks: a member whose queue is full is put out. The
// WebSocket of the native protocol is one Transport; the dialects bring
// their own through Hub.Open.
//
// Goroutines: Hub.Run has one for all lifetimes (pings, credentials, resume
// windows, waiting signals). Every socket has a reader; a writer exists only
// while there is something to write. Run returns when all of them have ended.
//
// The package does not listen, does not terminate TLS and does not know what a
// relay is: see ICE.
package signaling
