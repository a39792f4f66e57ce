// Package engine serves Engine.IO, revisions 3 and 4: a message channel to a
// browser over long polling, over WebSocket, or over polling that is upgraded to
// WebSocket. It knows nothing of what the messages mean.
//
// # Requests
//
// Query: EIO (3 or 4; missing is 3), transport (polling or websocket), sid (missing:
// a new connection), b64 (revision 3: this client cannot take binary). A refusal is
// {"code":n,"message":…} with status 400, or 403 for code 4:
//
//	0 Transport unknown        3 Bad request (polling on an upgraded connection)
//	1 Session ID unknown       4 Forbidden (origin, or Accept said no)
//	2 Bad handshake method     5 Unsupported protocol version
//
// # Packets
//
// A packet is a type digit and data: 0 open, 1 close, 2 ping, 3 pong, 4 message,
// 5 upgrade, 6 noop. The first packet of a connection is
//
//	0{"sid":…,"upgrades":["websocket"],"pingInterval":ms,"pingTimeout":ms,"maxPayload":bytes}
//
//	                  revision 3                              revision 4
//	polling, text     <length in UTF-16 units>:<packet>…      <packet>\x1e<packet>…
//	polling, binary   with b64: <length>:b4<base64>; else,    b<base64>
//	                  the whole body as octets, per packet:
//	                  0 text or 1 binary, the length as one
//	                  byte (0–9) a digit, 0xff, the packet
//	                  (a binary one begins with the byte 4)
//	websocket         one text frame a packet; a binary       one text frame a packet;
//	                  frame begins with the byte 4            a binary frame is a message
//	heartbeat         the client pings, the server pongs      the server pings
//
// Engine.IO 1 (socket.io 1) also says EIO=3 but encodes polled text as UTF-8 twice.
// So text to a polling client of revision 3 goes out in ASCII, other characters as
// JSON escapes, which both read alike (what the layer above sends is JSON but for
// ASCII prefixes); and what comes in is taken as encoded twice if it can be.
//
// # Upgrade
//
// A WebSocket with the sid of a polling connection says 2probe and hears 3probe. From
// then a waiting GET is let go with 6; what is queued waits or leaves by a GET that
// still comes. With 5 the connection is the WebSocket's, and the queue goes out there,
// once and in order. A WebSocket that does not say 5 in time is dropped.
//
// # Bounds
//
// There is one GET and one POST of a connection at a time; a second one ends it. A POST
// or a frame beyond MaxPayload ends it. Reading is slowed down to Messages and Bytes a
// second: a flood waits in its own socket, and nothing is lost. Send waits while
// the queue is full, for WriteTimeout at most: then the connection ends. A silent
// connection ends after PingInterval + PingTimeout, a polling one that nobody polls
// like any other. A polling connection belongs to the address and User-Agent that
// opened it, for its sid may be known to others.
//
// Run returns when every connection has ended and its goroutines have.
package engine
