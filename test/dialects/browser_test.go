package dialects

import (
	"net/url"
	"os/exec"
	"testing"

	"rtcd/test/browser"
)

// The clients of PeerJS and of y-webrtc, in pages.
func TestPeerJSAndYWebRTC(t *testing.T) {
	s := newStage(t)
	t.Run("peerjs", func(t *testing.T) { s.peerJS(t, url.Values{}, false) })
	t.Run("peerjs relayed", func(t *testing.T) { s.peerJS(t, url.Values{"relay": {""}}, true) })
	t.Run("y-webrtc", s.yWebRTC)
}

// peerJS: a connection of PeerJS carries messages both ways, if need be by nothing but the relay.
func (s *stage) peerJS(t *testing.T, query url.Values, relayed bool) {
	var pages [2]*browser.Page
	var ids [2]string
	for i := range pages {
		pages[i] = s.open(t, "peerjs.html", query)
		do(t, pages[i], &ids[i], `id`)
	}
	do(t, pages[0], nil, `connect`, ids[1])
	for i, page := range pages {
		do(t, page, nil, `say`, ids[1-i], map[string]string{"word": "of " + ids[i]})
	}
	for i, page := range pages {
		do(t, page, nil, `(id) => until("heard", () => heard.some(m => m.from === id && m.data.word === "of " + id))`, ids[1-i])
		var way string
		do(t, page, &way, `way`, ids[1-i])
		if (way == "relay") != relayed {
			t.Errorf("page %d is connected by a candidate %s", i, way)
		}
	}
	do(t, pages[0], nil, `() => { peer.disconnect(); peer.reconnect() }`)
	var again string
	do(t, pages[0], &again, `id`)
	if again != ids[0] {
		t.Errorf("%s comes back as %s", ids[0], again)
	}
}

// yWebRTC: what is written in one page stands in the others.
func (s *stage) yWebRTC(t *testing.T) {
	script, err := exec.Command("node_modules/.bin/esbuild", "ywebrtc.mjs", "--bundle", "--minify", "--global-name=ywebrtc").Output()
	if err != nil {
		t.Fatalf("esbuild: %v", err)
	}
	alone := `() => { window.BroadcastChannel = class { postMessage() {} close() {} } }`
	library := "() => {\n" + string(script) + "\nwindow.ywebrtc = ywebrtc }"
	var pages []*browser.Page
	for _, word := range []string{"one", "two", "three"} {
		page := s.open(t, "ywebrtc.html", url.Values{"room": {"document"}}, alone, library)
		do(t, page, nil, `write`, word+" ")
		pages = append(pages, page)
	}
	texts := map[string]bool{}
	for _, page := range pages {
		var got struct {
			Text        string
			Peers, Tabs int
		}
		do(t, page, &got, `() => read("one", "two", "three")`)
		if got.Tabs != 0 || got.Peers == 0 {
			t.Errorf("the document came by %d tabs and %d peers", got.Tabs, got.Peers)
		}
		texts[got.Text] = true
	}
	if len(texts) != 1 {
		t.Errorf("the pages disagree: %v", texts)
	}
}
