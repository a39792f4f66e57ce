package socketio

import (
	"encoding/json"
	"maps"
	"regexp"
	"slices"

	"rtcd/signaling"
)

// Codes of the errors that several requests can meet.
const (
	badData      = "MSG_REJECT_BAD_DATA"
	badStructure = "MSG_REJECT_BAD_STRUCTURE"
	badType      = "MSG_REJECT_BAD_TYPE"
	noAuth       = "MSG_REJECT_NO_AUTH"
)

// easyErrors are the texts that go with the codes, those of open-easyrtc 2.1.
var easyErrors = map[string]string{
	"BANNED_IP_ADDR":              "Client IP address is banned. Socket will be disconnected.",
	"LOGIN_BAD_AUTH":              "Authentication for application failed. Socket will be disconnected.",
	"LOGIN_BAD_ROOM":              "Requested room is invalid or does not exist. Socket will be disconnected.",
	"LOGIN_BAD_STRUCTURE":         "Authentication for application failed. The provided structure is improper. Socket will be disconnected.",
	"LOGIN_GEN_FAIL":              "Authentication failed. Socket will be disconnected.",
	badData:                       "Message rejected. The provided msgData is improper.",
	"MSG_REJECT_BAD_ROOM":         "Message rejected. Requested room is invalid or does not exist.",
	"MSG_REJECT_BAD_SIZE":         "Message rejected. Packet size is too large.",
	badStructure:                  "Message rejected. The provided structure is improper.",
	badType:                       "Message rejected. The provided msgType is unsupported.",
	"MSG_REJECT_GEN_FAIL":         "Message rejected. General failure occurred.",
	noAuth:                        "Message rejected. Not logged in or client not authorized.",
	"MSG_REJECT_PRESENCE":         "Message rejected. Presence could could not be set.",
	"MSG_REJECT_TARGET_EASYRTCID": "Message rejected. Target easyrtcid is invalid, not using same application, or no longer online.",
	"MSG_REJECT_TARGET_GROUP":     "Message rejected. Target group is invalid or not defined.",
	"MSG_REJECT_TARGET_ROOM":      "Message rejected. Target room is invalid or not created.",
}

// What easyrtc takes as a name. The first is for applications, rooms, groups and ids.
var (
	easyName       = regexp.MustCompile(`^(?i:[a-z0-9_.-]{1,32})$`)
	versionName    = regexp.MustCompile(`^(?i:[a-z0-9_.+-]{1,32})$`)
	sessionName    = regexp.MustCompile(`^(?i:[a-z0-9_.%-]{1,100})$`)
	userName       = regexp.MustCompile(`^.{1,64}$`)
	presenceShow   = regexp.MustCompile(`^(away|chat|dnd|xa)$`)
	presenceStatus = regexp.MustCompile(`^.{0,255}$`)
)

// word is a JSON string's text, "" for all else.
func word(v json.RawMessage) string {
	var s string
	if len(v) == 0 || v[0] != '"' || json.Unmarshal(v, &s) != nil {
		return ""
	}
	return s
}

// keys are the names in an object, in order.
func keys(v json.RawMessage) []string { return slices.Sorted(maps.Keys(fields(v))) }

// roomsFit says whether v, if there, is {name: {roomName: name, roomParameter?}}.
func roomsFit(v json.RawMessage) bool {
	for name, raw := range fields(v) {
		room := fields(raw)
		if !easyName.MatchString(name) || word(room["roomName"]) != name ||
			room["roomParameter"] != nil && fields(room["roomParameter"]) == nil {
			return false
		}
	}
	return true
}

// iceConfig is the configuration of RTCPeerConnection.
func iceConfig(servers *signaling.ICEServers) data {
	list := []signaling.ICEServer{}
	if servers != nil {
		list = append(list, servers.Servers...)
	}
	return data{"iceServers": list}
}
