package dialects

import (
	"fmt"
	"net/url"
	"testing"

	"rtcd/test/browser"
)

// The library of room chats, in pages, over both clients of Socket.IO that it knows.
func TestRoomChatUpgrades(t *testing.T) {
	s := newStage(t)
	for _, variant := range []url.Values{
		{"client": {"1"}, "trickle": {""}},   // as the library does by itself
		{"client": {"2"}, "ice": {s.ice(t)}}, // as its readme advises, and only through the relay
	} {
		t.Run("client "+variant.Get("client"), func(t *testing.T) {
			var pages []*browser.Page
			for i := range 3 {
				page := s.open(t, "p2p.html", variant)
				do(t, page, nil, `(room) => enter(room)`, t.Name())
				pages = append(pages, page)
				if i == 0 {
					continue // alone
				}
				for j, other := range pages {
					do(t, other, nil, `(n) => until("upgraded", () => upgraded && p2p.readyPeers >= n)`, i)
					do(t, other, nil, `(text) => say(text)`, fmt.Sprintf("%d says to %d", j, i))
				}
				for j, other := range pages {
					for k := range pages {
						if k != j {
							do(t, other, nil, `(text) => until("heard", () => heard.some(m => m.text === text))`, fmt.Sprintf("%d says to %d", k, i))
						}
					}
				}
			}
			for _, page := range pages { // what still arrives goes from peer to peer
				do(t, page, nil, `() => { socket.disconnect() }`)
			}
			do(t, pages[2], nil, `() => say("without a server")`)
			for _, page := range pages[:2] {
				do(t, page, nil, `() => until("heard", () => heard.some(m => m.text === "without a server"))`)
				var relayed []any
				do(t, page, &relayed, `() => heard.filter(m => m.fromServer)`)
				if len(relayed) != 0 {
					t.Errorf("the server carried %v after the upgrade", relayed)
				}
			}
		})
	}
	t.Run("without WebRTC", func(t *testing.T) {
		old := s.open(t, "p2p.html", url.Values{"client": {"2"}}, `() => { delete window.RTCPeerConnection; delete window.webkitRTCPeerConnection }`)
		today := s.open(t, "p2p.html", url.Values{"client": {"2"}})
		pages := []*browser.Page{old, today}
		for i, page := range pages {
			do(t, page, nil, `(room) => enter(room)`, t.Name())
			do(t, page, nil, `(n) => until("in", () => p2p.numConnectedClients >= n)`, i)
		}
		for i, page := range pages {
			do(t, page, nil, `(text) => say(text)`, fmt.Sprint("from ", i))
		}
		for i, page := range pages {
			do(t, page, nil, `(text) => until("heard", () => heard.some(m => m.fromServer?.text === text))`, fmt.Sprint("from ", 1-i))
		}
	})
	t.Run("getStats", func(t *testing.T) {
		page := s.open(t, "p2p.html", url.Values{"client": {"2"}})
		var got struct{ Type, ID, Name, Missing, Named, Report, Promise string }
		do(t, page, &got, `async () => {
			const pc = new RTCPeerConnection()
			pc.createDataChannel("x")
			const legacy = await new Promise(done => pc.getStats(done))
			const stat = legacy.result().find(s => s.type === "peer-connection")
			const report = await new Promise((done, failed) => pc.getStats(null, done, failed))
			return {
				type: stat.type, id: stat.id, name: stat.stat(stat.names().find(n => n === "dataChannelsOpened")), missing: stat.stat("toString"),
				named: legacy.namedItem(stat.id).id, report: report.get(stat.id).id, promise: (await pc.getStats()).get(stat.id).id
			}
		}`)
		if got.Type != "peer-connection" || got.ID == "" || got.Name != "0" || got.Missing != "" ||
			got.Named != got.ID || got.Report != got.ID || got.Promise != got.ID {
			t.Errorf("%+v", got)
		}
	})
}
