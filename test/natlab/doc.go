// Package natlab calls through NATs: pairs of clients, each behind routers of its own (see [rtcd/test/lab.NAT]), meet
// at the hub of an rtcd and connect directly or through its relay.
//
//	client ── NAT ──┐                      ┌── 11.22.33.16  hub.test: HTTPS and WebSocket on 443
//	                ├── core ── rtcd ──────┤
//	client ── NAT ──┘                      └── 11.22.33.17  turn.test: TURN on 3478 (UDP and TCP) and 443 (TLS)
//
// The clients are members on pion/webrtc, which speak rtcd.v1 as PROTOCOL.md says, and headless Chromium on the call
// page, unchanged. A member runs in this process with its sockets in its home's namespace.
//
// The tests hold paths and integrity, never durations: those are only reported. The long form calls between all pairs
// of NATs and writes the table into the directory that RTCD_NATLAB_RESULTS names; `make natlab` does it.
package natlab
