package test

import (
	"context"
	"fmt"
	"net"
	"slices"
	"testing"
)

// One name, one certificate, and nothing open but TCP 443: the page comes over HTTP/2, the hub over its WebSocket, and
// a call with video and data goes through the relay, over TLS on the same port.
func TestOnlyPort443(t *testing.T) {
	for _, kind := range kinds {
		t.Run(string(kind), func(t *testing.T) {
			server := startRTCD(t, uncapped, change{"listen", settings{"turn": "", "turns": "", "https": ":443"}})
			srv4, srv6 := world.server.IP4.String(), world.server.IP6.String()
			firewall(t, "ip daddr "+srv4+" udp dport 0-65535 drop\nip6 daddr "+srv6+" udp dport 0-65535 drop\n"+
				"ip daddr "+srv4+" tcp dport != 443 drop\nip6 daddr "+srv6+" tcp dport != 443 drop")
			b := openBrowser(t, kind, world.alice)
			before := server.relayed(t)
			pages := join(t, server, b, b, overTLS, ip4)
			for _, page := range pages {
				var got struct {
					Protocol string
					URLs     []string
				}
				evaluate(t, page, &got, `() => ({
					protocol: performance.getEntriesByType("navigation")[0].nextHopProtocol,
					urls: window.rtcdCall.pcs[0].getConfiguration().iceServers.flatMap((s) => s.urls),
				})`)
				if got.Protocol != "h2" {
					t.Errorf("the page came over %q, want h2", got.Protocol)
				}
				if want := "turns:" + hostIP4 + ":443?transport=tcp"; !slices.Contains(got.URLs, want) {
					t.Errorf("the browser was told %q, want %s", got.URLs, want)
				}
			}
			exchange(t, pages)
			wantVideo(t, pages)
			wantRelayed(t, server, pages, overTLS)
			if moved := server.relayed(t).since(before); moved[overTLS].sent < transfer {
				t.Errorf("the server relayed %+v", moved)
			}
		})
	}
}

// TURN over UDP on the same port: with it alone Chromium calls Firefox.
func TestUDPPort443(t *testing.T) {
	server := startRTCD(t, change{"listen", settings{"turn": "", "turns": ""}})
	firewall(t, "ip daddr "+world.server.IP4.String()+" udp dport != 443 drop")
	pages := join(t, server, openBrowser(t, kinds[0], world.alice), openBrowser(t, kinds[1], world.bob), overUDP, ip4)
	wantVideo(t, pages)
}

// A silent and a slow client on 443 hold up nobody, and are cut.
func TestMuteClientsOn443(t *testing.T) {
	server := startRTCD(t)
	ctx := patient(t)
	dial := func() net.Conn {
		nc, err := world.alice.Dial(ctx, "tcp", net.JoinHostPort(world.server.IP4.String(), "443"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { nc.Close() })
		return nc
	}
	mute := make([]net.Conn, 100)
	for i := range mute {
		mute[i] = dial()
		if i%2 == 1 {
			fmt.Fprint(mute[i], "\x16\x03\x01") // and no more of a handshake
		}
	}
	b := openBrowser(t, kinds[0], world.alice)
	join(t, server, b, b, overTLS, ip4)
	for i, nc := range mute {
		if stop := context.AfterFunc(ctx, func() { nc.Close() }); stop != nil {
			defer stop()
		}
		if n, err := nc.Read(make([]byte, 100)); err == nil && n > 0 && i%2 == 0 {
			t.Errorf("mute connection %d got %d bytes", i, n)
		}
	}
	if ctx.Err() != nil {
		t.Error("mute connections are still there")
	}
}
