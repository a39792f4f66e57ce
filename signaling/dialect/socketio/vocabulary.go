package socketio

import (
	"crypto/rand"
	"encoding/base64"

	"rtcd/signaling"
)

// Names of the vocabularies, as in Options.Off.
const (
	vocabularyP2P     = "p2p"
	vocabularyPair    = "pair"
	vocabularyCall    = "call"
	vocabularyChat    = "chat"
	vocabularyEasyrtc = "easyrtc"
)

// owner is the vocabulary to which alone an event belongs, "" if there are several
// or none.
func owner(e *input) string {
	switch e.name {
	case "room":
		return vocabularyP2P
	case "register", "syncto", "export", "exception", "message", "transfile", "ctrlSendSpeed", "ipaddr":
		return vocabularyPair
	case "_ice_candidate":
		return vocabularyCall
	case "join", "chat-message", "candidate":
		return vocabularyChat
	case "easyrtcAuth", "easyrtcCmd", "easyrtcMsg":
		return vocabularyEasyrtc
	case "offer", "answer":
		switch e.arg(0)[0] {
		case '"':
			return vocabularyCall
		case '{':
			return vocabularyChat
		}
	}
	return ""
}

// unpinned is a socket that has not said what it speaks. It hears what is said to
// a whole lobby.
type unpinned struct{}

func (unpinned) take(s *socket, e *input) {
	o := owner(e)
	if o == "" || !s.client.gateway.speaks(o) {
		return
	}
	switch o {
	case vocabularyP2P:
		s.words = &p2p{}
	case vocabularyPair:
		s.words = &pair{}
		s.leave()
	case vocabularyCall:
		s.words = call{}
	case vocabularyChat:
		s.words = &chat{}
	case vocabularyEasyrtc:
		s.words = &easyrtc{}
		s.leave()
	}
	s.words.take(s, e)
}

func (unpinned) hear(s *socket, e *signaling.Event) {
	if s.client.gateway.speaks(vocabularyCall) {
		call{}.hear(s, e)
	}
	if s.client.gateway.speaks(vocabularyChat) {
		(&chat{}).hear(s, e)
	}
}

// newID returns 120 random bits as 20 characters.
func newID() string {
	var b [15]byte
	rand.Read(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}
