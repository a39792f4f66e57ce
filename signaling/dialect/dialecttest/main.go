// Command dialecttest serves a hub with all dialects, for the tests that bring the
// published clients (test/dialects). It prints its address, and ends with its
// standard input.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"os"
	"time"

	"rtcd/creds"
	"rtcd/signaling"
	"rtcd/signaling/dialect/jsonws"
	"rtcd/signaling/dialect/peerjs"
	"rtcd/signaling/dialect/socketio"
	"rtcd/signaling/dialect/socketio/engine"
)

// relay is an ICE that mints as many different credentials as are asked for.
type relay struct{}

func (relay) Mint(member string) signaling.ICEServers {
	return signaling.ICEServers{TTL: time.Hour, Servers: []signaling.ICEServer{
		{URLs: []string{"stun:192.0.2.7:3478"}},
		{URLs: []string{"turn:192.0.2.7:3478"}, Username: "1:" + member, Credential: "secret of " + member},
	}}
}

func (relay) Revoke(string) {}

// passwords is an Auth whose token is a room's name.
type passwords struct{}

func (passwords) Verify(token string, now time.Time) (creds.Claims, error) {
	if token == "wrong" {
		return creds.Claims{}, errors.New("wrong")
	}
	return creds.Claims{Room: token, Expires: now.Add(time.Hour)}, nil
}

func main() {
	closed := flag.Bool("token", false, "ask for a token; it opens the room of its own name, unless it is \"wrong\"")
	discovery := flag.Bool("discovery", false, "tell PeerJS clients who is there")
	ping := flag.Duration("ping", 0, "Engine.IO's ping interval and timeout (the default)")
	flag.Parse()
	hub, err := signaling.New(signaling.Options{Open: !*closed, Auth: passwords{}, ICE: relay{}})
	if err != nil {
		log.Fatal(err)
	}
	gateway := socketio.New(hub, socketio.Options{
		Open: !*closed, Addresses: func() []netip.Addr { return []netip.Addr{netip.MustParseAddr("192.0.2.7")} },
		Engine: engine.Options{PingInterval: *ping, PingTimeout: *ping, Handshakes: 1000},
	})
	plain := jsonws.New(hub, jsonws.Options{})
	mux := http.NewServeMux()
	mux.Handle("/socket.io/", gateway)
	mux.HandleFunc("/legacy-shim.js", socketio.ServeShim)
	mux.Handle("/json", plain)
	mux.Handle("/json/", plain)
	mux.Handle("/{$}", plain)
	peers := peerjs.New(hub, peerjs.Options{Discovery: *discovery})
	mux.HandleFunc("/", peers.ServeHTTP)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	endHub := run(hub.Run)
	endGateway := run(gateway.Run)
	endPlain := run(plain.Run)
	endPeers := run(peers.Run)
	go http.Serve(listener, mux)
	fmt.Println("http://" + listener.Addr().String())
	io.Copy(io.Discard, os.Stdin)
	endPeers()
	endPlain()
	endGateway()
	endHub()
}

// run starts a service and returns what ends it.
func run(service func(context.Context) error) (end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- service(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			log.Fatal(err)
		}
	}
}
