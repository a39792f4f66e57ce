package natlab

import (
	"context"
	"encoding/base64"
	"fmt"
	"testing"
	"time"

	"rtcd/test/browser"
	"rtcd/test/lab"
)

// page is a browser on the call page; it calls by itself.
type page struct{ *browser.Page }

// chromium makes pages in a browser of their own at a home.
func chromium(t *testing.T, s *server, home *lab.NAT) enterer {
	t.Helper()
	b, err := browser.Open(patient(t), browser.Chromium, home.Client, world.ca)
	must(t, err)
	t.Cleanup(func() { must(t, b.Close()) })
	return func(room, name string) client {
		t.Helper()
		ctx := patient(t)
		tab, err := b.NewPage(ctx)
		must(t, err)
		must(t, tab.Navigate(ctx, "https://"+hubHost+"/apps/call?auto=1#token="+s.token(t, room, name)))
		p := page{tab}
		must(t, p.observe(ctx))
		return p
	}
}

// observe waits until the page is in the room and keeps what comes from then on: window.natlab has the bytes of the
// data channel, the hub's events and how many sockets were welcomed.
func (p page) observe(ctx context.Context) error {
	return p.Eval(ctx, nil, `async () => {
		while (window.rtcdCall?.hub?.state !== "open" || !window.rtcdCall.call) {
			if (window.rtcdCall?.state === "error") throw new Error("not in the room: " + document.documentElement.dataset.error);
			await new Promise((next) => setTimeout(next, 10));
		}
		const {hub, call} = window.rtcdCall;
		const seen = window.natlab = {bytes: [], events: [], sockets: 1, renewed: false};
		hub.on("state", ({state}) => { if (state === "open") seen.sockets++; });
		hub.on("restart", () => { seen.renewed = true; });
		hub.on("peer", ({event, peer}) => seen.events.push(event + " " + peer));
		const listen = ({channel}) => channel.addEventListener("message", ({data}) => {
			if (typeof data !== "string") seen.bytes.push(...new Uint8Array(data));
		});
		call.on("peer", listen);
		call.peers.forEach(listen);
	}`)
}

func (page) call(string) error { return nil }

func (p page) connected(ctx context.Context) error {
	return eventually(ctx, "the page's data channel is open", func() bool {
		var open bool
		err := p.Eval(ctx, &open, `() => window.rtcdCall.peers[0]?.channel.readyState === "open"`)
		return err == nil && open
	})
}

func (p page) say(ctx context.Context, data []byte) error {
	return p.Eval(ctx, nil, `async (text) => {
		const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0)), {channel} = window.rtcdCall.peers[0];
		for (let i = 0; i < bytes.length; i += 16384) channel.send(bytes.subarray(i, i + 16384));
	}`, base64.StdEncoding.EncodeToString(data))
}

func (p page) take(ctx context.Context, n int) ([]byte, error) {
	var text string
	err := eventually(ctx, "bytes arrive at the page", func() bool {
		err := p.Eval(ctx, &text, `(n) => {
			const {bytes} = window.natlab;
			if (bytes.length < n) return "";
			let text = "";
			for (const byte of bytes.splice(0, n)) text += String.fromCharCode(byte);
			return btoa(text);
		}`, n)
		return err == nil && text != ""
	})
	if err != nil {
		return nil, err
	}
	return base64.StdEncoding.DecodeString(text)
}

func (p page) leg(ctx context.Context) (l leg, err error) {
	return l, p.Eval(ctx, &l, `async () => {
		for (;;) {
			const stats = await window.rtcdCall.pcs[0].getStats(), all = [...stats.values()];
			const pair = stats.get(all.find((s) => s.type === "transport")?.selectedCandidatePairId);
			const local = stats.get(pair?.localCandidateId), remote = stats.get(pair?.remoteCandidateId);
			if (local && remote) return {local: local.candidateType, remote: remote.candidateType, via: local.relayProtocol ?? ""};
			await new Promise((next) => setTimeout(next, 50));
		}
	}`)
}

func (p page) session(ctx context.Context) (string, int, error) {
	var s struct {
		Peer    string
		Sockets int
		Renewed bool
	}
	err := p.Eval(ctx, &s, `() => ({peer: window.rtcdCall.hub.peer, ...window.natlab, bytes: []})`)
	if err == nil && s.Renewed {
		err = errRenewed
	}
	return s.Peer, s.Sockets, err
}

func (p page) heard(ctx context.Context, event, peer string) (heard bool, err error) {
	return heard, p.Eval(ctx, &heard, `(event) => window.natlab.events.includes(event)`, event+" "+peer)
}

// wantVideo waits until the page has decoded more frames of the other's fake camera than it has now.
func (p page) wantVideo(t *testing.T) {
	t.Helper()
	must(t, p.Eval(patient(t), nil, `async () => {
		const frames = async () => Math.max(0, ...[...(await window.rtcdCall.pcs[0].getStats()).values()]
			.filter((s) => s.type === "inbound-rtp" && s.kind === "video").map((s) => s.framesDecoded ?? 0));
		const before = await frames();
		while (await frames() <= before + 20) await new Promise((next) => setTimeout(next, 100));
	}`))
}

// maker makes what enters rooms at a home.
type maker func(t *testing.T, s *server, home *lab.NAT) enterer

func plain(t *testing.T, s *server, home *lab.NAT) enterer { return ours(t, s, home, memberOptions{}) }

// callers are the makers of a call with at least one browser in it. Chromium always comes second, and so offers.
var callers = []struct {
	name  string
	makes [2]maker
}{
	{chromiumOnly, [2]maker{chromium, chromium}},
	{goChromium, [2]maker{plain, chromium}},
}

// wantVideo holds that pictures pass between the browsers of the pair.
func (p pair) wantVideo(t *testing.T) {
	t.Helper()
	first, second := p[0], p[1]
	if a, ok := first.(page); ok {
		a.wantVideo(t)
		second.(page).wantVideo(t)
	}
}

// settled waits for the path that a browser prefers, where it began with another that was there sooner, and tells both.
func (p pair) settled(t *testing.T, first path, relayed bool) (_ path, how string) {
	t.Helper()
	begin := time.Now()
	last := first
	_ = eventually(patient(t), "the better path", func() bool {
		last = p.path(t)
		return last.relayed() == relayed
	})
	if how = last.String(); first.relayed() != last.relayed() {
		how += fmt.Sprintf(" (first %s; that took %.1f s more)", first, time.Since(begin).Seconds())
	}
	return last, how
}

// Browsers on the call page, with each other and with our client.
func testChromium(t *testing.T) {
	s := serve(t, nil)
	for _, c := range callers {
		for _, kinds := range allPairs() {
			t.Run(c.name+"/"+kinds[0].String()+" with "+kinds[1].String(), func(t *testing.T) {
				p, found := meet(t, c.makes[0](t, s, home(t, kinds[0]...)), c.makes[1](t, s, home(t, kinds[1]...)))
				p.wantVideo(t)
				settled, how := p.settled(t, found, needRelay(kinds[0], kinds[1]))
				record(t, natPairs, c.name, kinds[0], kinds[1], how, found.Took)
				settled.want(t, needRelay(kinds[0], kinds[1]))
			})
		}
		for _, w := range [][2]wall{{walls.noUDP, walls.none}, {walls.noUDP, walls.noUDP}, {walls.only443, walls.only443}} {
			t.Run(c.name+"/"+w[0].name+" with "+w[1].name, func(t *testing.T) {
				p, found := meet(t, c.makes[0](t, s, w[0].home(t)), c.makes[1](t, s, w[1].home(t)))
				p.wantVideo(t)
				record(t, firewalls, c.name, w[0].name, w[1].name, found, found.Took)
				found.wantThrough(t, w)
			})
		}
	}
	for _, c := range callers {
		for _, kinds := range []nat{nats[2], nats[3]} {
			t.Run(c.name+" moves/"+kinds.String(), func(t *testing.T) {
				first, second := home(t, kinds...), home(t, kinds...)
				p, found := meet(t, c.makes[0](t, s, first), c.makes[1](t, s, second))
				r := p.survive(t, p[1], false, second.Roam)
				p.wantVideo(t)
				record(t, moves, c.name, "to another network, "+kinds.String(), found, p.path(t), r.signaling, r.media)
				p.wantNoGhost(t, s)
			})
		}
	}
}
