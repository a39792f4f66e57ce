package apps

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"rtcd/test/browser"
)

// The README shows a picture of each application, none of them large. New ones go into the directory that
// RTCD_TEST_PICTURES names; with RTCD_TEST_LOOKS=1 each look of them: by night, in Chinese, and on a phone.
func TestPictures(t *testing.T) {
	dir := os.Getenv("RTCD_TEST_PICTURES")
	if dir == "" {
		wantPicturesInREADME(t, "../..")
		return
	}
	b := browserIn(t, browser.Chromium, world.alice)
	for app, scene := range map[string]func(*testing.T, *browser.Browser) *page{
		"chat": chatScene, "call": callScene, "files": filesScene, "pair": pairScene,
	} {
		t.Run(app, func(t *testing.T) {
			p := scene(t, b)
			p.eval(nil, `() => { document.documentElement.dataset.theme = "light"; document.activeElement.blur(); }`)
			p.picture(filepath.Join(dir, app+".png"), 1040, 650)
			if os.Getenv("RTCD_TEST_LOOKS") != "1" {
				return
			}
			p.picture(filepath.Join(dir, app+"-phone.png"), 390, 780)
			p.eval(nil, `() => { document.documentElement.dataset.theme = "dark"; document.getElementById("language").click(); }`)
			p.wantSoon("Chinese", `() => document.documentElement.lang === "zh-Hans"`)
			p.picture(filepath.Join(dir, app+"-dark.png"), 1040, 650)
			p.picture(filepath.Join(dir, app+"-dark-phone.png"), 390, 780)
			p.eval(nil, `() => document.getElementById("language").click()`)
		})
	}
}

func wantPicturesInREADME(t *testing.T, root string) {
	for _, readme := range []string{"README.md", "README.zh.md"} {
		text, err := os.ReadFile(filepath.Join(root, readme))
		if err != nil {
			t.Fatal(err)
		}
		for _, app := range []string{"chat", "call", "files", "pair"} {
			name := "docs/" + app + ".png"
			info, err := os.Stat(filepath.Join(root, name))
			switch {
			case err != nil:
				t.Error(err)
			case info.Size() > 200_000:
				t.Errorf("%s has %d bytes", name, info.Size())
			case !strings.Contains(string(text), "]("+name+")"):
				t.Errorf("%s does not show %s", readme, name)
			}
		}
	}
}

func (p *page) picture(file string, width, height int) {
	p.t.Helper()
	p.resize(width, height)
	p.eval(nil, `async () => { await new Promise((drawn) => setTimeout(drawn, 1500)); }`) // the next figures of the badges
	png, err := p.tab.Screenshot(patient(p.t))
	if err == nil {
		err = os.WriteFile(file, png, 0o644)
	}
	if err != nil {
		p.t.Error(err)
	}
}

// people are in the pictures.
var people = []string{"Ada", "Lin", "Noor"}

// meet opens an application for all of them; the first one's page is the picture's.
func meet(t *testing.T, b *browser.Browser, app string, n int) []*page {
	t.Helper()
	var pages []*page
	for i, name := range people[:n] {
		query := "auto=1"
		if i == 2 {
			query += "&relay=1"
		}
		pages = append(pages, open(t, b, visit{app: app, room: "garden", query: query, name: name, preload: []string{fmt.Sprintf(portrait, i), hold}}))
	}
	for _, p := range pages {
		p.wantSoon("everybody", `(n) => (window.rtcdCall ?? window.rtcdChat ?? window.rtcdFiles).links.filter((l) => l.path === "channel").length === n`, n-1)
	}
	return pages
}

func chatScene(t *testing.T, b *browser.Browser) *page {
	pages := meet(t, b, "chat", 3)
	for _, line := range []struct {
		who  int
		text string
	}{
		{1, "The seedlings are up: nine of ten."},
		{0, "Good. Can you bring the tall stakes on Saturday?"},
		{2, "I have two bundles in the shed. I'm on the train, the connection here lets no UDP through."},
		{0, "And still you are here. It says how, next to your name."},
		{1, "See you at nine then"},
	} {
		pages[line.who].eval(nil, `(text) => rtcdChat.say(text)`, line.text)
		for _, p := range pages {
			p.wantSoon("the line", `(text) => rtcdChat.lines.some((l) => l.text === text)`, line.text)
		}
	}
	pages[0].wantSoon("the proofs", `() => rtcdChat.lines.every((l) => l.kind !== "mine" || l.proof === "chat.arrived")`)
	return pages[0]
}

func callScene(t *testing.T, b *browser.Browser) *page {
	pages := meet(t, b, "call", 3)
	wantPictures(pages)
	pages[1].eval(nil, `() => document.getElementById("mic").click()`)
	pages[0].wantSoon("who is muted", `() => document.querySelector(".name-chip .icon") !== null`)
	pages[0].wantSoon("the badges", `() => document.querySelectorAll(".chip.badge .light").length === 2 && document.getElementById("notice").textContent === ""`)
	return pages[0]
}

func filesScene(t *testing.T, b *browser.Browser) *page {
	pages := meet(t, b, "files", 3)
	me := pages[0]
	send := func(from, to *page, name string, size int) {
		from.eval(nil, `(peer, name, size) => rtcdFiles.send(peer, new Blob([new Uint8Array(size)]), name).then(() => null)`, to.id("rtcdFiles"), name, size)
	}
	take := func(p *page) { p.eval(nil, `() => rtcdFiles.accept(rtcdFiles.transfers.at(-1))`) }
	send(pages[1], me, "Planting plan.pdf", 1_840_000)
	me.wantSoon("the plan", `() => rtcdFiles.transfers.length === 1`)
	take(me)
	me.wantSoon("the plan", `() => rtcdFiles.transfers[0].state === "done"`)
	pages[1].holdAt(148 * mega)
	send(me, pages[1], "Summer concert.mp4", 240*mega)
	pages[1].wantSoon("the film", `() => rtcdFiles.transfers.length === 2`)
	take(pages[1])
	pages[1].wantHeld()
	send(pages[2], me, "Photos from Sunday.zip", 52*mega)
	me.wantSoon("the photos", `() => rtcdFiles.transfers.length === 3`)
	return me
}

func pairScene(t *testing.T, b *browser.Browser) *page {
	me := open(t, b, visit{app: "pair", room: "garden"})
	me.wantSoon("the code", `() => rtcdPair.state === "open"`)
	var link string
	me.eval(&link, `() => rtcdPair.link`)
	u, err := url.Parse(link)
	if err != nil {
		t.Fatal(err)
	}
	u.RawQuery = "relay=1"
	phone := open(t, b, visit{link: u.String(), preload: []string{`() => {
		Object.defineProperty(navigator, "userAgent", {value: "Mobile"});
	}`}})
	me.wantSoon("the phone", `() => document.documentElement.dataset.paired === "1" && rtcdPair.links[0]?.path === "channel"`)
	phone.eval(nil, `async () => {
		rtcdPair.write("Wi-Fi of the summer house:\nnetwork  elderflower\npassword on the fridge\n\nTrain back: 17:42, platform 3");
		await rtcdPair.send(new Blob([new Uint8Array(3_400_000)]), "IMG_2041.jpg");
	}`)
	me.wantSoon("the picture", `() => rtcdPair.transfers[0]?.state === "done"`)
	return me
}

// portrait is a camera in front of somebody drawn: the browser's own shows a test pattern.
const portrait = `() => {
	const who = %d;
	const [wall, shirt, skin, hair] = [["#d9e4dc", "#2f6f73", "#e3b594", "#4a3528"], ["#e8dccb", "#b5533c", "#f0cba8", "#20232a"], ["#cfd9e6", "#e0a63a", "#a8714e", "#1d1512"]][who];
	const native = navigator.mediaDevices?.getUserMedia.bind(navigator.mediaDevices);
	if (!native) return;
	navigator.mediaDevices.getUserMedia = async (constraints) => {
		const stream = await native(constraints);
		const video = stream.getVideoTracks()[0];
		if (!video) return stream;
		const canvas = Object.assign(document.createElement("canvas"), {width: 960, height: 720});
		const pen = canvas.getContext("2d");
		const disc = (x, y, rx, ry, colour) => { pen.fillStyle = colour; pen.beginPath(); pen.ellipse(x, y, rx, ry, 0, 0, 7); pen.fill(); };
		const draw = () => {
			pen.fillStyle = wall; pen.fillRect(0, 0, 960, 720);
			disc(480, 820, 330, 330, shirt);
			pen.fillStyle = skin; pen.fillRect(425, 430, 110, 120);
			disc(480, 318, 158, 178, hair);
			if (who !== 1) { pen.fillStyle = hair; pen.fillRect(322, 318, 316, 190); pen.fillStyle = skin; pen.fillRect(425, 430, 110, 90); }
			disc(480, 345, 125, 148, skin);
			disc(432, 335, 11, 13, "#2a1e18"); disc(528, 335, 11, 13, "#2a1e18");
			pen.strokeStyle = "#2a1e1899"; pen.lineWidth = 8; pen.lineCap = "round"; pen.beginPath(); pen.arc(480, 395, 42, .35, 2.8); pen.stroke();
		};
		draw();
		setInterval(draw, 200);
		const drawn = canvas.captureStream(5);
		video.stop();
		return new MediaStream([...stream.getAudioTracks(), ...drawn.getVideoTracks()]);
	};
}`
