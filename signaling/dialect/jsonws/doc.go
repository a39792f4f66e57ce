// Package jsonws lets two old kinds of clients be members of the hub, on the same
// WebSocket and told apart per message: those of the WebRTC tutorials, who log in by a
// name and call each other by it, and those of y-webrtc, who publish to topics (see
// package ywebrtc). Each can be switched off.
//
// # Login
//
//	server, at once            {"type":"hello","message":"Welcome to connect Signaling Server"}
//	login {name}               {"type":"login","success":true}, or
//	                           {"type":"login","success":false,"message":"重複登入"} if somebody has the name
//	offer {name: to, offer}    to that one: {"type":"offer","offer":…,"name":from}
//	answer {name: to, answer}, candidate {name: to, candidate}      likewise
//	leave {name: to}           to that one: {"type":"leave"}
//	the end of a socket        to the last partner: {"type":"leave"}
//	anything else              {"type":"error","message":"Command not found: X"}
//
// A name is free again when its socket closes or logs in by another one. Only who is
// logged in may send. An offer to nobody is answered by an error. One leave per call:
// after it, closing the socket says nothing more.
//
// # Members
//
// The path after the mount is the tenant's name, so that https://host/json/team-a is a world of
// its own. The join token is `token` in the address; a token for one room makes a world of
// those who have such a token, and opens only that topic. Who is logged in is a member of
// the tenant json:NAME, who has subscribed one of topics:NAME.
package jsonws
