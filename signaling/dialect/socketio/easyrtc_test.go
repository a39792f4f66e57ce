package socketio

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

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
