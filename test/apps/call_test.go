package apps

import (
	"fmt"
	"testing"

	"rtcd/test/browser"
)

// Three people see and hear each other, change what they send, and leave.
func TestCall(t *testing.T) {
	t.Parallel()
	inBrowsers(t, func(t *testing.T, b *browser.Browser) {
		for _, w := range append(relays(), direct) {
			t.Run(w.name, func(t *testing.T) {
				t.Parallel()
				pages := callRoom(t, b, 3, w)
				wantPictures(pages)
				pages[0].wantSoon("a bit rate in the badge", `() => [...document.querySelectorAll(".chip.badge")].some((b) => /[1-9] Mbit\/s$/.test(b.textContent))`)
				if w == direct && b.Kind == browser.Chromium { // Firefox lists the devices to the window in front only
					changeWhatIsSent(pages[0], pages[1])
				}
				leave(t, pages)
			})
		}
		if long {
			t.Run("five", func(t *testing.T) { wantPictures(callRoom(t, b, 5, direct)) })
		}
	})
}

// screenOfItsOwn gives a page a screen to share: a browser without a head has none.
const screenOfItsOwn = `() => {
	if (navigator.mediaDevices) navigator.mediaDevices.getDisplayMedia = async () => {
		const canvas = Object.assign(document.createElement("canvas"), {width: 320, height: 200});
		const pen = canvas.getContext("2d");
		setInterval(() => { pen.fillStyle = "hsl(" + Date.now() / 20 % 360 + " 80% 50%)"; pen.fillRect(0, 0, 320, 200); }, 50);
		return canvas.captureStream(20);
	};
}`

func callRoom(t *testing.T, b *browser.Browser, n int, w way) []*page {
	t.Helper()
	var pages []*page
	for i := range n {
		pages = append(pages, open(t, b, visit{
			app: "call", query: "auto=1" + w.query, name: fmt.Sprintf("member %d", i), preload: []string{screenOfItsOwn},
		}))
	}
	for _, p := range pages {
		p.wantSoon("a call with everyone", `(n) => rtcdCall.state === "connected" && rtcdCall.peers.length === n &&
			rtcdCall.pcs.every((pc) => pc.connectionState === "connected")`, n-1)
		p.wantSoon("the badge", `(state, via) => rtcdCall.info.every((i) => i?.state === state && (!via || !i.via || i.via === via)) &&
			document.documentElement.dataset.connection === state`, w.state, w.via)
	}
	return pages
}

// wantPictures waits until each page has decoded frames from every other, and heard it.
func wantPictures(pages []*page) {
	for _, p := range pages {
		p.t.Helper()
		p.wantSoon("sound and picture of everyone", `async () => {
			const seen = await Promise.all(rtcdCall.pcs.map(async (pc) => {
				const all = [...(await pc.getStats()).values()].filter((s) => s.type === "inbound-rtp");
				return all.some((s) => s.kind === "video" && s.framesDecoded > 10) && all.some((s) => s.kind === "audio" && s.packetsReceived > 10);
			}));
			return seen.length > 0 && seen.every(Boolean);
		}`)
	}
}

// changeWhatIsSent mutes, shares a screen and takes another microphone, by keys and by the dialog; the other sees it.
func changeWhatIsSent(me, other *page) {
	t := me.t
	t.Helper()
	presence := `(key, value) => [...rtcdCall.hub.rooms.values()][0].get(` + quote(me.id("rtcdCall")) + `)?.data?.[key] === value`
	me.eval(nil, `() => document.getElementById("hangup").focus()`)
	me.press("m")
	other.wantSoon("that the microphone is off", presence, "mic", false)
	me.press("m")
	other.wantSoon("that the microphone is on again", presence, "mic", true)

	me.press("s")
	other.wantSoon("that a screen is shared", presence, "screen", true)
	other.wantSoon("the screen itself", `() => [...document.querySelectorAll(".tile.shares video")].some((v) => v.videoWidth === 320)`)
	me.press("s")
	other.wantSoon("that it no longer is", presence, "screen", false)
	other.wantSoon("the camera again", `() => [...document.querySelectorAll(".tile video")].every((v) => v.videoWidth > 320)`)

	var before string
	me.eval(&before, `() => rtcdCall.devices.audio.id`)
	me.eval(nil, `() => document.getElementById("devices").click()`)
	me.wantSoon("a choice of microphones", `() => document.getElementById("audioinput").options.length > 0`)
	me.eval(nil, `() => {
		const list = document.getElementById("audioinput");
		list.selectedIndex = list.options.length - 1;
		list.dispatchEvent(new Event("change"));
	}`)
	me.wantSoon("another microphone, sent to everyone", `(before) => rtcdCall.devices.audio?.id !== before && rtcdCall.devices.audio?.readyState === "live" &&
		rtcdCall.pcs.every((pc) => pc.getSenders().some((s) => s.track === rtcdCall.devices.audio))`, before)
	me.eval(nil, `() => document.getElementById("settings").close()`)
	other.wantSoon("sound from it", `async () => {
		const heard = async () => Math.min(...await Promise.all(rtcdCall.pcs.map(async (pc) =>
			[...(await pc.getStats()).values()].find((s) => s.type === "inbound-rtp" && s.kind === "audio")?.packetsReceived ?? 0)));
		const earlier = await heard();
		await new Promise((next) => setTimeout(next, 500));
		return await heard() > earlier;
	}`)
}

// leave has one hang up and one go to another page: neither is ever taken for somebody who may come back.
func leave(t *testing.T, pages []*page) {
	t.Helper()
	stays := pages[0]
	stays.eval(nil, `() => { window.events = []; rtcdCall.hub.on("peer", (m) => events.push(m.event)); }`)
	pages[1].eval(nil, `() => document.getElementById("hangup").click()`)
	stays.wantSoon("that one has hung up", `() => rtcdCall.peers.length === 1`)
	pages[1].wantSoon("the devices given back", `() => !rtcdCall.devices.audio && !rtcdCall.devices.video && rtcdCall.state === "ended"`)
	if err := pages[2].tab.Navigate(patient(t), "about:blank"); err != nil {
		t.Fatal(err)
	}
	stays.wantSoon("that nobody is left", `() => rtcdCall.peers.length === 0 && rtcdCall.state === "waiting"`)
	var events []string
	stays.eval(&events, `() => events`)
	for _, event := range events {
		if event == "away" {
			t.Errorf("a page that was left is taken for one that lost its line: %v", events)
		}
	}
}
