package socketio

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"rtcd/signaling"
	"rtcd/signaling/dialect/socketio/engine"
)

// mint is an ICE whose credentials hold for an hour.
type mint struct{ made int }

func (m *mint) Mint(member string) signaling.ICEServers {
	m.made++
	return signaling.ICEServers{TTL: time.Hour, Servers: []signaling.ICEServer{{
		URLs: []string{"turn:rtc.example.com:3478"}, Username: member, Credential: fmt.Sprint("password ", m.made),
	}}}
}

func (m *mint) Revoke(string) {}

const authenticate = `420["easyrtcAuth",{"msgType":"authenticate","msgData":{"apiVersion":"2","roomJoin":{"r":{"roomName":"r"}}}}]`

func TestEasyrtcGetsNewCredentialsBeforeTheOldOnesEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorldOf(t, signaling.Options{Open: true, ICE: &mint{}}, Options{Engine: engine.Options{PingInterval: 3 * time.Hour}})
		p := w.client()
		p.post(authenticate)
		p.want(`"iceConfig":{"iceServers":[{"urls":["turn:rtc.example.com:3478"],"username":"`)
		time.Sleep(31 * time.Minute)
		p.want(`"msgType":"iceConfig"`)
		p.post(`421["easyrtcCmd",{"msgType":"getIceConfig"}]`)
		p.want(`431[{"msgData":{"iceConfig":{"iceServers":[{"urls":["turn:rtc.example.com:3478"],"username":"`)
	})
}

func TestEasyrtcMembersAreMembersOfTheHub(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{})
		a, b := w.client(), w.client()
		a.post(authenticate)
		a.want(`"roomStatus":"join"`)
		b.post(authenticate)
		a.want(`"updateClient"`)
		b.want(`"roomStatus":"join"`)
		w.wantMembers(2, "each is one member")
		rooms := w.hub.Rooms()
		if len(rooms) != 1 || rooms[0].Tenant != "easyrtc:/#default" || rooms[0].Room != "r" {
			t.Fatalf("rooms %+v", rooms)
		}
		gone := rooms[0].Members[1].Peer
		if !w.hub.Ban(gone, "rude", time.Hour) {
			t.Fatal("the hub does not know it")
		}
		a.want(`"removeClient":{"` + gone + `":{"easyrtcid":"` + gone + `"}}`)
		synctest.Wait()
		for end := ""; end != "1"; end = b.get() { // it is told of its room and cut off
			if strings.Contains(end, `"code":1`) {
				t.Fatal("the connection has ended without an end")
			}
		}
	})
}

func TestEasyrtcRoomsAreFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limits := signaling.Limits{Members: 1}
		w := newWorldOf(t, signaling.Options{Open: true, Limits: limits}, Options{})
		a, b := w.client(), w.client()
		a.post(authenticate)
		a.want(`"msgType":"token"`)
		b.post(authenticate)
		b.want(`"errorCode":"LOGIN_GEN_FAIL","errorText":"Authentication failed. Socket will be disconnected."`)
		b.want("1")
		a.post(`421["easyrtcCmd",{"msgType":"roomJoin","msgData":{"roomJoin":{"other":{"roomName":"other"}}}}]`)
		a.want(`431[{"msgData":{"roomData":{"other":{"clientList":{`)
	})
}

// FuzzEasyrtc: whatever an authenticated client says, it is answered or put out, and
// nobody else notices.
func FuzzEasyrtc(f *testing.F) {
	for _, seed := range []string{
		`{"msgType":"offer","msgData":{"sdp":"v=0"},"targetEasyrtcid":"x"}`, `{"msgType":"hangup","targetEasyrtcid":"x"}`,
		`{"msgType":"roomJoin","msgData":{"roomJoin":{"a":{"roomName":"a"},"b":{"roomName":"b","roomParameter":{}}}}}`,
		`{"msgType":"roomLeave","msgData":{"roomLeave":{"r":{"roomName":"r"}}}}`, `{"msgType":"getRoomList"}`, `{"msgType":"getIceConfig"}`,
		`{"msgType":"setPresence","msgData":{"setPresence":{"show":"away","status":"x","type":{}}}}`, `{"msgType":"x","targetRoom":"r","msgData":null}`,
		`{"msgType":"setRoomApiField","msgData":{"setRoomApiField":{"roomName":"r","field":{"k":[]}}}}`, `{"msgType":"setUserCfg","msgData":{"setUserCfg":{"p2pList":{}}}}`,
		`{"msgType":"authenticate","msgData":{"apiVersion":"2","username":"u","easyrtcsid":"s","setPresence":{"show":"dnd"},"credential":{"a":1}}}`, `null`, `[]`, `"x"`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, message string) {
		if strings.ContainsRune(message, 0x1e) || !utf8.ValidString(message) || !json.Valid([]byte(message)) {
			return // another packet
		}
		w := newWorldOf(t, signaling.Options{Open: true, ICE: &mint{}}, Options{})
		open := func() *poller {
			p := &poller{w, "EIO=4&transport=polling"}
			p.query += "&sid=" + sid.FindStringSubmatch(p.get())[1]
			p.post("40\x1e" + authenticate)
			return p
		}
		p, other := open(), open()
		p.post(`421["easyrtcCmd",` + message + "]\x1e" + `422["easyrtcMsg",` + message + "]\x1e" + `423["easyrtcAuth",` + message + `]`)
		for heard := ""; !strings.Contains(heard, "433[") && heard != "1"; heard = p.get() {
			if strings.Contains(heard, `"code":`) {
				t.Fatalf("neither answered nor told of the end: %s", heard)
			}
		}
		other.post(`421["easyrtcCmd",{"msgType":"getRoomList"}]`)
		for heard := ""; !strings.Contains(heard, `431[{"msgData":{"roomList":`); heard = other.get() {
			if strings.Contains(heard, `"code":`) {
				t.Fatalf("the other is put out: %s", heard)
			}
		}
	})
}
