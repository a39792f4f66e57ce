package test

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"testing"
	"time"

	"rtcd/test/browser"
)

// transfer is what each page sends to the other.
const transfer = 10_000_000

// uncapped lifts the bandwidth of an allocation, because what a cap drops the browsers count and the server does not.
var uncapped = change{"turn", settings{"limits": settings{"bandwidth_per_allocation": 0}}}

// Two pages of one browser, in one room, by each way that a browser has to a relay.
func TestBrowsersCallThroughTheRelay(t *testing.T) {
	for _, kind := range kinds {
		t.Run(string(kind), func(t *testing.T) {
			b := openBrowser(t, kind, world.alice)
			for _, tr := range []transport{overUDP, overTCP, overTLS} {
				for _, f := range families {
					t.Run(string(tr)+"/"+string(f), func(t *testing.T) {
						call(t, startRTCD(t, uncapped), b, b, tr, f) // a server of its own, for its counters
					})
				}
			}
		})
	}
}

// Different browsers at different addresses.
func TestChromiumCallsFirefox(t *testing.T) {
	call(t, startRTCD(t, uncapped), openBrowser(t, browser.Chromium, world.alice), openBrowser(t, browser.Firefox, world.bob), overUDP, ip4)
}

// What `rtcd serve` prints with no configuration at all is a link that two windows on this machine can call by.
func TestFirstRun(t *testing.T) {
	for _, kind := range kinds {
		t.Run(string(kind), func(t *testing.T) {
			b, state := openBrowser(t, kind, world.alice), t.TempDir()
			cmd := world.alice.Command(context.WithoutCancel(t.Context()), world.program, "serve")
			cmd.Env = append(os.Environ(), "STATE_DIRECTORY="+state, "HOME="+state)
			m, err := start(t, cmd).Await(patient(t), `(http://localhost:\d+/apps/call)(#\S+)`)
			if err != nil {
				t.Fatal(err)
			}
			var pages []*browser.Page
			for range 2 {
				pages = append(pages, openPage(t, b, m[1]+"?auto=1&relay=1"+m[2]))
			}
			wantConnected(t, pages)
			wantVideo(t, pages)
		})
	}
}

// call has two members join a room with tokens, exchange a video and data, and holds what the browsers say about
// their connection against the server's counters.
func call(t *testing.T, server *rtcdServer, left, right *browser.Browser, tr transport, f family) {
	t.Helper()
	before := server.relayed(t)
	pages := join(t, server, left, right, tr, f)
	exchange(t, pages)
	wantVideo(t, pages)
	earlier := server.relayed(t).since(before)
	browsers := wantRelayed(t, server, pages, tr)
	later := server.relayed(t).since(before)
	for other, n := range later {
		if other != tr && (n.sent != 0 || n.received != 0) {
			t.Errorf("the server counts %+v over %s too", n, other)
		}
	}
	// The browsers count at a moment between the two readings, and leave out connectivity checks and handshakes.
	slack := 0.02*browsers.sent + 100_000
	if browsers.sent < 2*transfer || browsers.sent < earlier[tr].sent-slack || browsers.sent > later[tr].sent+slack {
		t.Errorf("the browsers count %+v, the server first %+v, then %+v: it does not count what they sent", browsers, earlier[tr], later[tr])
	}
	wantReported(t, server)
	// A browser whose socket is full loses datagrams behind the server's back, so it may have received less.
	if browsers.received < 2*transfer || browsers.received > later[tr].received+slack {
		t.Errorf("the browsers count %+v, the server %+v: they received more than it relayed to them", browsers, later[tr])
	}
}

// wantReported waits until both pages have told the server how they are connected.
func wantReported(t *testing.T, server *rtcdServer) {
	t.Helper()
	reported := regexp.MustCompile(`(?m)^rtcd_client_ice_outcomes_total\{local="relay",protocol="(?:udp|tcp|tls)",remote="\w+",result="connected"\} (\d+)$`)
	for ctx := patient(t); ; time.Sleep(100 * time.Millisecond) {
		text, err := server.admin.Metrics(ctx)
		if err != nil {
			t.Fatal(err)
		}
		sum := 0
		for _, m := range reported.FindAllStringSubmatch(text, -1) {
			n, _ := strconv.Atoi(m[1])
			sum += n
		}
		if sum >= 2 {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("%d outcomes are reported, want those of both pages", sum)
		}
	}
}

// join opens the call page twice, each with a token of its own for the same room, and waits for the connection.
func join(t *testing.T, server *rtcdServer, left, right *browser.Browser, tr transport, f family) []*browser.Page {
	t.Helper()
	var pages []*browser.Page
	for i, b := range []*browser.Browser{left, right} {
		token := server.token(t, t.Name(), fmt.Sprintf("member %d", i))
		pages = append(pages, openPage(t, b, "https://"+hostBoth+"/apps/call?auto=1&relay=1#token="+token, only(tr, f)))
	}
	wantConnected(t, pages)
	return pages
}

// wantConnected waits until the call stands on each page.
func wantConnected(t *testing.T, pages []*browser.Page) {
	t.Helper()
	for _, page := range pages {
		evaluate(t, page, nil, `async () => {
			const deadline = Date.now() + 240000;
			const ready = () => window.rtcdCall?.state === "connected" && window.rtcdCall.peers[0].channel.readyState === "open";
			while (!ready()) {
				if (Date.now() > deadline) {
					const pcs = window.rtcdCall?.pcs?.map((pc) => [pc.iceGatheringState, pc.iceConnectionState, pc.connectionState, pc.signalingState]);
					throw new Error("not connected: " + JSON.stringify({call: window.rtcdCall?.state, error: document.documentElement.dataset.error, pcs}));
				}
				await new Promise((next) => setTimeout(next, 100));
			}
		}`)
	}
}

// exchange sends data both ways at once over the call's data channel and compares what arrives by SHA-256.
func exchange(t *testing.T, pages []*browser.Page) {
	t.Helper()
	for i, page := range pages {
		evaluate(t, page, nil, `(size, seed) => {
			const channel = window.rtcdCall.peers[0].channel;
			channel.binaryType = "arraybuffer";
			const digest = async (bytes) => [...new Uint8Array(await crypto.subtle.digest("SHA-256", bytes))].map((b) => b.toString(16).padStart(2, "0")).join("");
			const into = new Uint8Array(size);
			let at = 0;
			window.progress = () => ({arrived: at, channel: channel.readyState, waiting: channel.bufferedAmount});
			window.received = new Promise((done) => channel.addEventListener("message", ({data}) => {
				into.set(new Uint8Array(data), at);
				at += data.byteLength;
				if (at === size) done(digest(into));
			}));
			window.send = async () => {
				const from = new Uint8Array(size);
				for (let i = 0, x = seed; i < size; i++) { x = (x * 1103515245 + 12345) & 0x7fffffff; from[i] = x >> 16; }
				const chunk = 16384;
				channel.bufferedAmountLowThreshold = 1 << 19;
				for (let i = 0; i < size; i += chunk) {
					if (channel.bufferedAmount > 1 << 20) await new Promise((low) => channel.addEventListener("bufferedamountlow", low, {once: true}));
					channel.send(from.subarray(i, i + chunk));
				}
				return digest(from);
			};
		}`, transfer, i+1)
	}
	var sent, received [2]string
	errs := make(chan error, 2*len(pages))
	for i, page := range pages {
		// Both end with the evaluation.
		go func() { errs <- page.Eval(patient(t), &sent[i], `() => window.send()`) }()
		go func() { errs <- page.Eval(patient(t), &received[i], `() => window.received`) }()
	}
	for range 2 * len(pages) {
		if err := <-errs; err != nil {
			for i, page := range pages {
				var progress any
				evaluate(t, page, &progress, `() => window.progress()`)
				t.Logf("page %d: %v", i, progress)
			}
			t.Fatalf("transfer: %v", err)
		}
	}
	if sent[0] != received[1] || sent[1] != received[0] {
		t.Errorf("data arrived changed: sent %q, received %q", sent, received)
	}
}

// wantVideo waits until each page has decoded more than 100 frames of the other's fake camera.
func wantVideo(t *testing.T, pages []*browser.Page) {
	t.Helper()
	for _, page := range pages {
		evaluate(t, page, nil, `async () => {
			const deadline = Date.now() + 240000;
			const frames = async () => Math.max(0, ...[...(await window.rtcdCall.pcs[0].getStats()).values()]
				.filter((s) => s.type === "inbound-rtp" && s.kind === "video").map((s) => s.framesDecoded ?? 0));
			while (await frames() <= 100) {
				if (Date.now() > deadline) throw new Error("frames decoded: " + await frames());
				await new Promise((next) => setTimeout(next, 100));
			}
		}`)
	}
}

// wantRelayed checks that the selected pair is relay/relay on both pages. The other's relayed address is still
// "prflx" to a browser that met it in a connectivity check before its candidate came over the hub: then the address
// tells.
func wantRelayed(t *testing.T, server *rtcdServer, pages []*browser.Page, tr transport) traffic {
	t.Helper()
	var sum traffic
	for i, page := range pages {
		var pair struct {
			Local, Remote, Address, Via string
			Sent, Received              float64
		}
		evaluate(t, page, &pair, `async () => {
			const stats = await window.rtcdCall.pcs[0].getStats();
			const all = [...stats.values()];
			const transport = all.find((s) => s.type === "transport" && s.selectedCandidatePairId);
			const pair = stats.get(transport?.selectedCandidatePairId) ?? all.find((s) => s.type === "candidate-pair" && s.selected);
			const local = stats.get(pair.localCandidateId), remote = stats.get(pair.remoteCandidateId);
			return {local: local.candidateType, remote: remote.candidateType, address: remote.address ?? "", via: local.relayProtocol ?? "",
				sent: pair.bytesSent, received: pair.bytesReceived};
		}`)
		if pair.Remote == "prflx" && (pair.Address == server.node.IP4.String() || pair.Address == server.node.IP6.String()) {
			pair.Remote = "relay"
		}
		if pair.Local != "relay" || pair.Remote != "relay" || pair.Via != "" && pair.Via != string(tr) {
			t.Errorf("page %d: selected pair %s/%s via %q; want relay/relay via %s", i, pair.Local, pair.Remote, pair.Via, tr)
		}
		sum.sent, sum.received = sum.sent+pair.Sent, sum.received+pair.Received
	}
	return sum
}

func evaluate(t *testing.T, page *browser.Page, out any, function string, args ...any) {
	t.Helper()
	if err := page.Eval(patient(t), out, function, args...); err != nil {
		t.Fatal(err)
	}
}
