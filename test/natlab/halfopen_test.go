package natlab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/pion/transport/v4/stdnet"
	"github.com/pion/turn/v4"

	"rtcd/test/lab"
)

// F11: when a network goes silent, the server gives back what the connections from there held; when the network is
// back, so are the clients.
func testHalfOpenConnections(t *testing.T) {
	const allocations, sessions, rooms = 200, 200, 5
	s := serve(t, settings{"allocations_per_user": 0, "allocations_per_ip": 0, "connections_per_ip": 0})
	h := home(t, lab.PortRestricted)
	idle := s.descriptors(t)

	relayed := allocate(t, s, h, allocations)
	var tokens []string
	for i := range rooms {
		tokens = append(tokens, s.token(t, fmt.Sprintf("room %d", i), "member"))
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var hubs []*hub
	for i := range sessions {
		hubs = append(hubs, &hub{
			room: fmt.Sprintf("room %d", i%rooms), token: tokens[i%rooms], done: make(chan struct{}),
			node: network{node: h.Client, ctx: ctx}, onSignal: func(signal) {},
		})
	}
	var tasks sync.WaitGroup
	defer tasks.Wait()
	defer cancel()
	for _, m := range hubs {
		// Each ends with the context.
		tasks.Go(func() { m.run(ctx) })
	}
	wantWelcomed(t, hubs)
	full := s.descriptors(t)
	if n := s.metric(t, `rtcd_turn_allocations\{.*\}`); n != allocations || full < idle+2*allocations+sessions {
		t.Fatalf("%v allocations, %d descriptors after %d; want %d and their sockets", n, full, idle, allocations)
	}

	must(t, h.Block(lab.BlockAll))
	begin := time.Now()
	must(t, eventually(patient(t), "all allocations end", func() bool { return s.metric(t, `rtcd_turn_allocations\{.*\}`) == 0 }))
	record(t, halfOpen, fmt.Sprintf("%d silent allocations over TCP ended after", allocations), time.Since(begin))
	const slack = 3 // what the program opens for itself
	must(t, eventually(patient(t), "all descriptors are free", func() bool { return s.descriptors(t) <= idle+slack }))
	record(t, halfOpen, fmt.Sprintf("and %d silent WebSockets; all descriptors free after", sessions), time.Since(begin))
	record(t, halfOpen, "descriptors before, with all, after", fmt.Sprintf("%d, %d, %d", idle, full, s.descriptors(t)))
	for _, r := range relayed {
		r.close()
	}

	before := make([]int, sessions)
	for i, m := range hubs {
		_, before[i] = m.welcome()
	}
	must(t, h.Block(lab.BlockNone))
	begin = time.Now()
	for i, m := range hubs {
		must(t, eventually(patient(t), "a member is back", func() bool {
			_, now := m.welcome()
			return now > before[i]
		}))
	}
	record(t, halfOpen, fmt.Sprintf("%d of %d WebSockets were back after", sessions, sessions), time.Since(begin))
	for _, r := range allocate(t, s, h, allocations) {
		defer r.close()
	}
	record(t, halfOpen, fmt.Sprintf("%d of %d allocations were back after", allocations, allocations), time.Since(begin))
}

func wantWelcomed(t *testing.T, hubs []*hub) {
	t.Helper()
	ctx := patient(t)
	for _, m := range hubs {
		must(t, eventually(ctx, "a member is in its room", func() bool {
			_, sockets := m.welcome()
			return sockets > 0
		}))
	}
}

// allocation is one of pion's client over TCP.
type allocation struct{ close func() }

// allocate makes so many at once.
func allocate(t *testing.T, s *server, h *lab.NAT, count int) []allocation {
	t.Helper()
	user, password := s.credentials(t)
	made, errs := make([]allocation, count), make([]error, count)
	var all sync.WaitGroup
	for i := range count {
		// Waited for below.
		all.Go(func() { made[i], errs[i] = allocateOne(patient(t), h, user, password) })
	}
	all.Wait()
	must(t, errors.Join(errs...))
	return made
}

func allocateOne(ctx context.Context, h *lab.NAT, user, password string) (allocation, error) {
	at := netip.AddrPortFrom(world.hosts[turnHost], 3478).String()
	conn, err := h.Client.Dial(ctx, "tcp", at)
	if err != nil {
		return allocation{}, err
	}
	std, err := stdnet.NewNet()
	if err != nil {
		return allocation{}, errors.Join(err, conn.Close())
	}
	client, err := turn.NewClient(&turn.ClientConfig{
		STUNServerAddr: at, TURNServerAddr: at, Username: user, Password: password,
		Conn: turn.NewSTUNConn(conn), Net: std,
	})
	if err != nil {
		return allocation{}, errors.Join(err, conn.Close())
	}
	end := func() { client.Close(); _ = conn.Close() }
	if err := client.Listen(); err != nil {
		end()
		return allocation{}, err
	}
	if _, err := client.Allocate(); err != nil {
		end()
		return allocation{}, err
	}
	return allocation{end}, nil
}

// credentials are some that `rtcd credentials` mints.
func (s *server) credentials(t *testing.T) (user, password string) {
	t.Helper()
	var minted struct{ ICEServers []iceServer }
	must(t, json.Unmarshal([]byte(s.run(t, "credentials", "--user", "alice", "--format", "json")), &minted))
	for _, server := range minted.ICEServers {
		if server.Username != "" {
			return server.Username, server.Credential
		}
	}
	t.Fatalf("rtcd credentials prints none: %+v", minted)
	return "", ""
}
