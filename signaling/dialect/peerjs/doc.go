// Package peerjs lets the clients of PeerJS (https://peerjs.com) be members of the hub.
// It says what PeerServer 1.x says, in the same words.
//
//	GET /KEY/id                an id that nobody has, as text
//	GET /KEY/peers             the ids of all peers, as a JSON array; 401 unless Options.Discovery
//	GET /peerjs?key=&id=&token=     a WebSocket
//
// On the WebSocket, each message one JSON object:
//
//	server, at first           {"type":"OPEN"}, or one of these and the end:
//	                           {"type":"ID-TAKEN","payload":{"msg":"ID is taken"}}
//	                           {"type":"ERROR","payload":{"msg":"Invalid key provided"}}
//	OFFER, ANSWER, CANDIDATE {dst, payload}    to that peer: {type, src, dst, payload}. One who is not
//	                           there is waited for: 5 s, then {"type":"EXPIRE","src":dst,"dst":src}
//	LEAVE, EXPIRE {dst}        likewise, but nobody is waited for
//	LEAVE                      the end
//	HEARTBEAT, anything else   no answer
//
// # Where it differs from PeerServer
//
// The src is always the sender's. An id is somebody's as long as the socket lives; the
// same id with the same token takes it over at once, is told OPEN, and the old socket is closed.
// Ids are what the client calls valid. What cannot be read is passed over. What waits is bounded,
// and goes with its sender. OPEN has a payload which the client does not look at but an application
// can: {iceServers, ttl}, the credentials that the hub minted for this peer.
//
// # Members
//
// KEY is the join token. A token for one room makes a world of those who have such a token, and
// its name, if it has one, is the id. Where no token is needed, each KEY is a world of its own.
// A peer is a member of the tenant peerjs:WORLD, in a room by itself or in that of its token.
package peerjs
