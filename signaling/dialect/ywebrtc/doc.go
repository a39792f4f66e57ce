// Package ywebrtc lets the clients of y-webrtc (https://github.com/yjs/y-webrtc) be members
// of the hub: they subscribe to topics and publish to them.
//
//	subscribe {topics}, unsubscribe {topics}
//	publish {topic, …}         to all who subscribed to it, the sender too: the message as it
//	                           is, and "clients": how many they are
//	ping                       {"type":"pong"}
//
// Topics are rooms of the hub, with its limits. Who is not subscribed cannot publish. Whoever has
// subscribed is a member of a tenant topics:NAME.
//
// The package has no door of its own: a Subscriber is a part of a plain WebSocket, which
// jsonws opens and shares between the clients that it serves, told apart per message.
package ywebrtc
