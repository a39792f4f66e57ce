// Package socketio lets clients of Socket.IO, from 1 to 4, be members of the hub.
// The channel below is package engine's; here are Socket.IO's packets, its
// namespaces, and the vocabularies that its applications speak.
//
// # Packets
//
// A packet is the text of an Engine.IO message:
//
//	<type>[<attachments>-][<namespace>,][<ack id>][<JSON>]
//
// with type 0 CONNECT, 1 DISCONNECT, 2 EVENT, 3 ACK, 4 ERROR, 5 BINARY EVENT,
// 6 BINARY ACK. The JSON of an event is an array, its name first. Binary values
// are {"_placeholder":true,"num":i} in it and follow as binary messages. Nothing else
// may come between them. JSON is relayed as the bytes that came, but for the places
// that a vocabulary says it changes.
//
//	                  Engine.IO 3 (Socket.IO 1, 2)       Engine.IO 4 (Socket.IO 3, 4)
//	CONNECT /         the server's 40, unasked           40{…} answered by 40{"sid":…}
//	CONNECT /team     0/team?query answered by 0/team    0/team,{…} answered by 0/team,{"sid":…}
//	refused           44/team,"text"                     44/team,{"message":"text"}
//	id of a socket    the engine's sid, /team#sid        random
//	event nowhere     ignored                            the connection ends
//
// # Members
//
// A namespace is a tenant. The join token is `token` in the address; without a good one
// the handshake is refused, unless the hub is open. Each namespace that a client
// connects is one member of the hub, in the tenant of its vocabulary: "lobby" until it has one,
// then as the table says, each followed by ":" and the namespace. Presence, limits of
// rooms, kicks, credentials and the rule for slow consumers are the hub's; a member
// that is put out hears 41 and then the end of the connection.
//
// A socket takes the vocabulary of the first event that belongs to only one of them,
// and hears only that one. Before, it hears everything that is said to a whole lobby.
// The lobby's room is `room` in the address, else the room of the token, else "lobby".
//
//	vocabulary  first event                             tenant, room
//	p2p         room                                    p2p:NS, the event's room
//	pair        register syncto export exception        pair:NS, the uid; roles web and app
//	            message transfile ctrlSendSpeed ipaddr
//	call        _ice_candidate; offer, answer (string)  lobby:NS#ROOM
//	chat        join chat-message candidate; offer,     lobby:NS#ROOM
//	            answer (object)
//	easyrtc     easyrtcAuth easyrtcCmd easyrtcMsg       easyrtc:NS#APPLICATION, its rooms
//
// What has no word in a vocabulary is told as `refused {event, code, message}`, which
// old clients do not listen for; easyrtc has words of its own. See the types p2p, pair,
// call, chat and easyrtc.
//
// The hub carries an event's arguments as its Data: the attachments, each with its
// length in front, then the JSON between the brackets; see args.
package socketio
