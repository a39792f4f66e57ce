package natlab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/webrtc/v4"

	"rtcd/test/lab"
)

// member is a client of ours: a session in a room and a connection with the one other member, negotiated as the SDK
// does it. Who comes second offers, and looks for a new path when the old one is lost.
type member struct {
	*hub
	home    *lab.NAT
	options memberOptions
	cancel  context.CancelFunc
	tasks   sync.WaitGroup

	mu       sync.Mutex // guards what follows; held while a description is made and sent, so that candidates follow it
	pc       *webrtc.PeerConnection
	channel  *webrtc.DataChannel
	peer     string                    // the other one's id
	caller   bool                      // who came second, and offers
	events   []string                  // what the hub said about others: "away ID", "back ID", "leave ID"
	early    []webrtc.ICECandidateInit // came before the description
	restarts int
	problem  error

	inbox inbox
}

type memberOptions struct {
	relayOnly bool
	// patience is how long a relayed path waits for a better one; zero is pion's two seconds.
	patience time.Duration
}

// inbox is the bytes that came over the data channel.
type inbox struct {
	mu    sync.Mutex
	bytes []byte
}

// enter makes a member at a home and waits until it is in the room. It stays until the end of the test.
func enter(t *testing.T, s *server, at *lab.NAT, room, name string, options memberOptions) *member {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	m := &member{home: at, options: options, cancel: cancel}
	m.hub = &hub{
		room: room, token: s.token(t, room, name), done: make(chan struct{}),
		node: network{node: at.Client, ctx: ctx}, onSignal: m.hear, onPeer: m.note,
	}
	// Both are the member's; they end with its context.
	m.tasks.Go(func() { m.run(ctx) })
	m.tasks.Go(func() { m.watch(ctx) })
	t.Cleanup(func() {
		m.mu.Lock()
		pc, problem := m.pc, m.problem
		m.mu.Unlock()
		cancel()
		if pc != nil {
			_ = pc.Close()
		}
		m.tasks.Wait()
		if problem != nil {
			t.Errorf("%s: %v", name, problem)
		}
	})
	must(t, eventually(patient(t), name+" is in the room", func() bool {
		_, sockets := m.welcome()
		return sockets > 0
	}))
	return m
}

// open makes the connection. mu must be held.
func (m *member) open(peer string) error {
	var engine webrtc.SettingEngine
	nodeNet, err := m.node.Interfaces()
	if err != nil || len(nodeNet) == 0 {
		return fmt.Errorf("interfaces of the home: %d, %w", len(nodeNet), err)
	}
	engine.SetNet(m.node)
	engine.DisableActiveTCP(true) // would leave the home
	engine.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	engine.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	if m.options.patience > 0 {
		engine.SetRelayAcceptanceMinWait(m.options.patience)
	}
	me, _ := m.welcome()
	config := webrtc.Configuration{}
	for _, server := range me.ICE.IceServers {
		config.ICEServers = append(config.ICEServers, webrtc.ICEServer{
			URLs: server.URLs, Username: server.Username, Credential: server.Credential,
		})
	}
	if m.options.relayOnly {
		config.ICETransportPolicy = webrtc.ICETransportPolicyRelay
	}
	if m.pc, err = webrtc.NewAPI(webrtc.WithSettingEngine(engine)).NewPeerConnection(config); err != nil {
		return err
	}
	m.peer = peer
	yes, id := true, uint16(0)
	if m.channel, err = m.pc.CreateDataChannel("rtcd", &webrtc.DataChannelInit{Negotiated: &yes, ID: &id}); err != nil {
		return err
	}
	m.channel.OnMessage(func(msg webrtc.DataChannelMessage) {
		if !msg.IsString { // the call page also tells of itself
			m.inbox.add(msg.Data)
		}
	})
	m.pc.OnICECandidate(func(c *webrtc.ICECandidate) {
		if c == nil {
			return
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		m.signal(peer, "candidate", c.ToJSON())
	})
	m.pc.OnTrack(func(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
		_, _ = io.Copy(io.Discard, trackReader{track}) // until the connection ends
	})
	return nil
}

type trackReader struct{ track *webrtc.TrackRemote }

func (r trackReader) Read(b []byte) (int, error) {
	n, _, err := r.track.Read(b)
	return n, err
}

// call offers. There may be others in the room: sessions whose welcome was lost on a bad line.
func (m *member) call(peer string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.caller = true
	if err := m.open(peer); err != nil {
		return err
	}
	return m.offer(nil)
}

// offer makes and sends an offer. mu must be held.
func (m *member) offer(options *webrtc.OfferOptions) error {
	offer, err := m.pc.CreateOffer(options)
	if err == nil {
		err = m.pc.SetLocalDescription(offer)
	}
	if err != nil {
		return err
	}
	m.signal(m.peer, "offer", offer)
	return nil
}

// hear takes a signal of the other member.
func (m *member) hear(s signal) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var err error
	switch s.Kind {
	case "offer":
		err = m.answer(s)
	case "answer":
		var answer webrtc.SessionDescription
		if err = json.Unmarshal(s.Data, &answer); err == nil {
			err = m.described(answer)
		}
	case "candidate":
		var c *webrtc.ICECandidateInit
		if err = json.Unmarshal(s.Data, &c); err == nil && c != nil {
			if m.pc == nil || m.pc.RemoteDescription() == nil {
				m.early = append(m.early, *c)
				return
			}
			err = m.pc.AddICECandidate(*c)
		}
	}
	if err != nil {
		m.problem = errors.Join(m.problem, fmt.Errorf("%s: %w", s.Kind, err))
	}
}

func (m *member) answer(s signal) error {
	var offer webrtc.SessionDescription
	if err := json.Unmarshal(s.Data, &offer); err != nil {
		return err
	}
	if m.pc == nil {
		if err := m.open(s.From); err != nil {
			return err
		}
	}
	if err := m.described(offer); err != nil {
		return err
	}
	answer, err := m.pc.CreateAnswer(nil)
	if err == nil {
		err = m.pc.SetLocalDescription(answer)
	}
	if err != nil {
		return err
	}
	m.signal(m.peer, "answer", answer)
	return nil
}

// described takes the other one's description and the candidates that overtook it.
func (m *member) described(d webrtc.SessionDescription) error {
	if err := m.pc.SetRemoteDescription(d); err != nil {
		return err
	}
	for _, c := range m.early {
		if err := m.pc.AddICECandidate(c); err != nil {
			return err
		}
	}
	m.early = nil
	return nil
}

// watch restarts ICE when the path is lost; it gives each attempt some time.
func (m *member) watch(ctx context.Context) {
	const look, between = 250 * time.Millisecond, 10 * time.Second
	tick := time.NewTicker(look)
	defer tick.Stop()
	var last time.Time
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		m.mu.Lock()
		if m.pc != nil && m.lost() && time.Since(last) > between {
			last = time.Now()
			m.restarts++
			if err := m.offer(&webrtc.OfferOptions{ICERestart: true}); err != nil {
				m.problem = errors.Join(m.problem, fmt.Errorf("ICE restart: %w", err))
			}
		}
		m.mu.Unlock()
	}
}

// lost says whether this member should look for another path: only the caller does. mu must be held.
func (m *member) lost() bool {
	state := m.pc.ICEConnectionState()
	return m.caller && m.pc.SignalingState() == webrtc.SignalingStateStable &&
		(state == webrtc.ICEConnectionStateDisconnected || state == webrtc.ICEConnectionStateFailed)
}

func (m *member) note(event, peer string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.events = append(m.events, event+" "+peer)
}

// heard says whether the hub has told of an event.
func (m *member) heard(_ context.Context, event, peer string) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Contains(m.events, event+" "+peer), nil
}

// connected waits until the data channel is open.
func (m *member) connected(ctx context.Context) error {
	return eventually(ctx, "the data channel is open", func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.channel != nil && m.channel.ReadyState() == webrtc.DataChannelStateOpen
	})
}

// say sends bytes over the data channel, in pieces, as fast as it takes them.
func (m *member) say(ctx context.Context, data []byte) error {
	const piece, most = 16 << 10, 1 << 20
	for len(data) > 0 {
		full := func() bool { return m.channel.BufferedAmount() < most }
		if err := eventually(ctx, "the channel takes more", full); err != nil {
			return err
		}
		n := min(piece, len(data))
		if err := m.channel.Send(data[:n]); err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}

func (i *inbox) add(b []byte) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.bytes = append(i.bytes, b...)
}

func (m *member) take(ctx context.Context, n int) ([]byte, error) { return m.inbox.take(ctx, n) }

// take waits for so many bytes and takes them out.
func (i *inbox) take(ctx context.Context, n int) (taken []byte, err error) {
	return taken, eventually(ctx, fmt.Sprintf("%d bytes arrive", n), func() bool {
		i.mu.Lock()
		defer i.mu.Unlock()
		if len(i.bytes) < n {
			return false
		}
		taken, i.bytes = i.bytes[:n:n], i.bytes[n:]
		return true
	})
}

// leg is one end of the selected path.
type leg struct {
	Local  string `json:"local"` // type of the own candidate: host, srflx, prflx or relay
	Remote string `json:"remote"`
	Via    string `json:"via"` // udp, tcp or tls, where the own candidate is relayed
}

func (m *member) leg(ctx context.Context) (l leg, err error) {
	return l, eventually(ctx, "a path is selected", func() (ok bool) {
		l, ok = m.selected()
		return ok
	})
}

func (m *member) selected() (l leg, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	transport := m.pc.SCTP().Transport().ICETransport()
	pair, err := transport.GetSelectedCandidatePair()
	stats, found := transport.GetSelectedCandidatePairStats()
	if err != nil || pair == nil || !found {
		return leg{}, false
	}
	l = leg{Local: pair.Local.Typ.String(), Remote: pair.Remote.Typ.String()}
	if own, ok := m.pc.GetStats()[stats.LocalCandidateID].(webrtc.ICECandidateStats); ok {
		l.Via = own.RelayProtocol
	}
	return l, true
}
