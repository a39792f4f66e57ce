//go:build linux

package main

import (
	"encoding/json"
	"strings"
)

// dialect is how a client speaks with a server.
type dialect interface {
	path() string
	// enter says hello, joins the room and returns the client's id.
	enter(c *client, room string) (peer string, err error)
	// message and signal are the texts that carry data to a room and to a peer.
	message(room, data string) string
	signal(peer, data string) string
}

// native is rtcd.v1 (PROTOCOL.md); the server on ws speaks the part of it that is used.
type native struct{}

func (native) path() string { return "/ws" }

func (native) enter(c *client, room string) (string, error) {
	if err := c.say(`{"type":"hello","room":"` + room + `"}`); err != nil {
		return "", err
	}
	text, err := c.hear(`{"type":"welcome"`)
	if err != nil {
		return "", err
	}
	var welcome struct{ Peer string }
	err = json.Unmarshal([]byte(text), &welcome)
	return welcome.Peer, err
}

func (native) message(room, data string) string {
	return `{"type":"message","to":"#` + room + `","data":` + data + `}`
}

func (native) signal(peer, data string) string {
	return `{"type":"signal","to":"` + peer + `","kind":"candidate","data":` + data + `}`
}

// socketIO is Engine.IO 4 and Socket.IO 5 over WebSocket from the start.
type socketIO struct{}

func (socketIO) path() string { return "/socket.io/?EIO=4&transport=websocket" }

func (socketIO) enter(c *client, room string) (string, error) {
	if _, err := c.hear("0{"); err != nil {
		return "", err
	}
	if err := c.say("40"); err != nil {
		return "", err
	}
	if _, err := c.hear("40{"); err != nil {
		return "", err
	}
	if err := c.say(`420["join","` + room + `"]`); err != nil {
		return "", err
	}
	text, err := c.hear("430[")
	if err != nil {
		return "", err
	}
	var peer [1]string
	err = json.Unmarshal([]byte(strings.TrimPrefix(text, "430")), &peer)
	return peer[0], err
}

func (socketIO) message(room, data string) string {
	return `42["message",{"to":"#` + room + `","data":` + data + `}]`
}

func (socketIO) signal(peer, data string) string {
	return `42["signal",{"to":"` + peer + `","kind":"candidate","data":` + data + `}]`
}
