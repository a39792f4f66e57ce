// Package pulse tells whether a server still answers, from the outside: over its own
// sockets, as its clients do.
//
// [Binding] is a STUN Binding to a UDP or TCP listener, [WebSocket] a ping through a
// WebSocket handshake. Both return nil for a server that answers, be it with a refusal,
// and an error for one that is silent until ctx ends or whose port is closed. What this
// process lacks for asking at all, such as descriptors, is no silence of the server:
// then they return an [Unable], which callers may treat as they like.
//
// Both return when ctx is done, with their sockets closed.
package pulse
