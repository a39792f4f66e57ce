package dialects

import (
	"net/url"
	"testing"

	"rtcd/test/browser"
)

// easyrtc's client calls in pages, with picture and data, by the credentials that its
// token brings: its connections may use nothing but the relay.
func TestEasyrtcCalls(t *testing.T) {
	s := newStage(t)
	for _, client := range []string{"2", "4"} {
		t.Run("client "+client, func(t *testing.T) {
			var pages []*browser.Page
			var ids [2]string
			for i := range ids {
				page := s.open(t, "easyrtc.html", url.Values{"client": {client}}, relayOnly)
				do(t, page, &ids[i], `connect`, "calls")
				pages = append(pages, page)
			}
			a, b := pages[0], pages[1]
			do(t, a, nil, `call`, ids[1])
			for i, page := range pages {
				other := ids[1-i]
				do(t, page, nil, `(id) => until("open", () => open.has(id))`, other)
				do(t, page, nil, `() => until("seen", () => document.querySelector("video").videoWidth > 0)`)
				do(t, page, nil, `(id) => easyrtc.sendDataP2P(id, "word", {of: easyrtc.myEasyrtcid})`, other)
				var pair struct{ Local, Remote string }
				do(t, page, &pair, `pair`, other)
				if pair.Local != "relay" {
					t.Errorf("page %d: the call runs by %+v", i, pair)
				}
			}
			for i, page := range pages {
				do(t, page, nil, `(id) => until("heard", () => heard.some(m => m.from === id && m.data.of === id && !m.relayed))`, ids[1-i])
			}
			do(t, a, nil, `(id) => { easyrtc.hangup(id) }`, ids[1])
			do(t, b, nil, `(id) => until("hung up", () => !open.has(id))`, ids[0])
			do(t, b, nil, `() => { easyrtc.setAcceptChecker((id, accept) => accept(false)) }`)
			var refused string
			do(t, a, &refused, `(id) => call(id).catch(e => e.message)`, ids[1])
			if refused != "rejected" {
				t.Errorf("a call that is not accepted ends with %q", refused)
			}
			do(t, a, &refused, `() => call("nobody").catch(e => e.message)`)
			if want := "MSG_REJECT_TARGET_EASYRTCID Message rejected. Target easyrtcid is invalid, not using same application, or no longer online."; refused != want {
				t.Errorf("a call to nobody ends with %q", refused)
			}
		})
	}
}

// relayOnly leaves connections of a page no way but a relay.
const relayOnly = `() => {
	const Native = window.RTCPeerConnection
	window.RTCPeerConnection = class extends Native {
		constructor(config) { super({...config, iceTransportPolicy: "relay"}) }
	}
}`
