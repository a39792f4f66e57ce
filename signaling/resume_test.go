package signaling

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// frail is a connection that breaks after so many bytes, in either direction and in
// the middle of whatever is on its way.
type frail struct {
	net.Conn
	mu   sync.Mutex
	left int
}

var errBroken = errors.New("broken")

func (f *frail) spend(p []byte) ([]byte, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(p) >= f.left {
		p = p[:f.left]
		f.left = 0
		return p, true
	}
	f.left -= len(p)
	return p, false
}

func (f *frail) Read(p []byte) (int, error) {
	n, err := f.Conn.Read(p)
	if err != nil {
		return n, err
	}
	kept, broken := f.spend(p[:n])
	if broken {
		f.Conn.Close()
	}
	return len(kept), nil
}

func (f *frail) Write(p []byte) (int, error) {
	kept, broken := f.spend(p)
	n, err := f.Conn.Write(kept)
	if broken {
		f.Conn.Close()
		return n, errBroken
	}
	return n, err
}

// survivor is a client as PROTOCOL.md wants it: it resumes whenever its socket
// breaks, says what it has seen, and sends again what was not taken.
type survivor struct {
	t      *testing.T
	world  *world
	name   string
	random *rand.Rand

	conn   *websocket.Conn
	peer   string
	resume string
	seq    uint64 // last one seen
	said   []string
	taken  int // of said
	dials  int
	heard  []int // the data of messages, in order
	cuts   bool  // the connections are frail
}

// connect says hello, again and again until there is a welcome.
func (s *survivor) connect() error {
	for {
		s.dials++
		if s.dials > 5000 {
			return errors.New("cannot get through")
		}
		if s.conn != nil {
			s.conn.Close()
		}
		d := websocket.Dialer{NetDialContext: s.dial}
		conn, _, err := d.Dial(s.world.url, nil)
		if err != nil {
			continue
		}
		s.conn = conn
		hello, _ := json.Marshal(map[string]any{"type": "hello", "room": "r", "user": s.name, "resume": s.resume, "seq": s.seq})
		if conn.WriteMessage(websocket.TextMessage, hello) != nil {
			continue
		}
		if s.hear() == nil {
			return nil
		}
	}
}

func (s *survivor) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err != nil || !s.cuts {
		return conn, err
	}
	return &frail{Conn: conn, left: 400 + s.random.IntN(8000)}, nil
}

// hear takes one frame in.
func (s *survivor) hear() error {
	s.conn.SetReadDeadline(time.Now().Add(time.Minute))
	_, data, err := s.conn.ReadMessage()
	if err != nil {
		return err
	}
	var f struct {
		Type, Peer, Resume, Event, Code string
		Resumed                         bool
		Seq                             uint64
		Got                             int
		Data                            int
	}
	if err := json.Unmarshal(data, &f); err != nil {
		s.t.Errorf("%s: %s: %v", s.name, data, err)
	}
	if f.Seq != 0 {
		if f.Seq != s.seq+1 {
			s.t.Errorf("%s: %d after %d: %s", s.name, f.Seq, s.seq, data)
		}
		s.seq = f.Seq
	}
	switch f.Type {
	case TypeWelcome:
		if s.peer != "" && (!f.Resumed || f.Peer != s.peer) {
			s.t.Errorf("%s: the session was lost: %s", s.name, data)
		}
		s.peer, s.resume = f.Peer, f.Resume
		return s.sayAgain(f.Got)
	case TypeMessage:
		s.heard = append(s.heard, f.Data)
	case TypeError:
		s.t.Errorf("%s: %s", s.name, data)
	}
	return nil
}

// sayAgain sends what the server has not taken.
func (s *survivor) sayAgain(got int) error {
	s.taken = got
	for _, text := range s.said[got:] {
		if err := s.conn.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
			return err
		}
	}
	return nil
}

// converse says n numbered messages and listens until it has heard as many.
func (s *survivor) converse(n int) error {
	if err := s.connect(); err != nil {
		return err
	}
	for i := 0; len(s.said) < n || len(s.heard) < n; i++ {
		if len(s.said) < n {
			text := fmt.Sprintf(`{"type":"message","to":"#r","data":%d,"seq":%d}`, len(s.said), s.seq)
			s.said = append(s.said, text)
			if s.conn.WriteMessage(websocket.TextMessage, []byte(text)) != nil {
				if err := s.connect(); err != nil {
					return err
				}
				continue
			}
		}
		if len(s.heard) < n && (i%3 == 0 || len(s.said) == n) && s.hear() != nil {
			if err := s.connect(); err != nil {
				return err
			}
		}
	}
	return s.drain()
}

// drain makes sure that the server has taken everything.
func (s *survivor) drain() error {
	for s.taken < len(s.said) {
		if err := s.connect(); err != nil {
			return err
		}
	}
	return nil
}

// TestResumeLosesAndDoublesNothing lets two clients talk over sockets that break
// all the time, in both directions and in the middle of frames.
func TestResumeLosesAndDoublesNothing(t *testing.T) {
	const n = 300
	w := newWorld(t, Options{
		Keep:   time.Hour,
		Limits: Limits{Rate: 1e6, Burst: 1e6, Queue: 1e5, QueueBytes: 1 << 30}, // all that breaking makes many events
	})
	var clients [2]*survivor
	for i := range clients {
		clients[i] = &survivor{
			t: t, world: w, name: fmt.Sprint("client ", i), cuts: true,
			random: rand.New(rand.NewPCG(uint64(i), 7)),
		}
		clients[i].cuts = false // until both are in the room
		if err := clients[i].connect(); err != nil {
			t.Fatal(err)
		}
		clients[i].cuts = true
	}
	var wg sync.WaitGroup
	for _, c := range clients {
		wg.Go(func() {
			if err := c.converse(n); err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
		})
	}
	wg.Wait()
	for _, c := range clients {
		if c.conn != nil {
			c.conn.Close()
		}
		if len(c.heard) != n {
			t.Errorf("%s heard %d of %d", c.name, len(c.heard), n)
		}
		for i, v := range c.heard {
			if v != i {
				t.Fatalf("%s: %d in place of %d", c.name, v, i)
			}
		}
		if c.dials < 10 {
			t.Errorf("%s: only %d sockets: nothing was tested", c.name, c.dials)
		}
		t.Logf("%s: %d sockets", c.name, c.dials)
	}
}

func TestAResumeTokenWorksOnce(t *testing.T) {
	w := newWorld(t, Options{Auth: tokens{"t": {Name: "ann", Expires: never}}})
	first, welcome := w.enter("first", `{"type":"hello","token":"t","room":"r"}`)
	token := welcome.str("resume")

	second, again := w.enter("second", `{"type":"hello","resume":"`+token+`"}`)
	if again["resumed"] != true || again.str("peer") != welcome.str("peer") {
		t.Fatalf("not resumed: %v", again)
	}
	first.wantClosed(CloseTakenOver)

	third, again := w.enter("third, because the welcome may be lost", `{"type":"hello","resume":"`+token+`"}`)
	if again["resumed"] != true {
		t.Fatalf("not resumed: %v", again)
	}
	second.wantClosed(CloseTakenOver)
	third.wantSilence("now the token is used up")

	thief := w.open("thief", nil)
	thief.say(`{"type":"hello","resume":"%s"}`, token)
	thief.want(`{"type":"error","code":"expired"}`)
	thief.wantClosed(CloseExpired)

	for why, forged := range map[string]string{
		"another signature":  again.str("resume")[:30] + strings.Repeat("A", len(again.str("resume"))-30),
		"another peer":       "a" + again.str("resume"),
		"nothing of ours":    "hello",
		"no base64":          "a.!!!",
		"too short a secret": "a.AAAA",
	} {
		c := w.open(why, nil)
		c.say(`{"type":"hello","resume":"%s"}`, forged)
		c.want(`{"type":"error","code":"expired"}`)
		c.wantClosed(CloseExpired)
	}
	third.wantSilence("the session is unharmed")

	fresh, again := w.enter("with a token one begins anew", `{"type":"hello","token":"t","resume":"`+token+`"}`)
	if again["resumed"] != false || again.str("peer") == welcome.str("peer") {
		t.Fatalf("%v", again)
	}
	fresh.wantSilence("alone")
}

func TestWhatEndsCannotBeResumed(t *testing.T) {
	for why, end := range map[string]func(*client){
		"bye":             func(c *client) { c.say(`{"type":"bye"}`) },
		"a clean close":   func(c *client) { c.conn.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(1000, "")) },
		"a second hello":  func(c *client) { c.say(`{"type":"hello"}`) },
		"a binary frame":  func(c *client) { c.conn.WriteMessage(websocket.BinaryMessage, []byte("x")) },
		"too big a frame": func(c *client) { c.say(`{"type":"ping","pad":"%s"}`, strings.Repeat("x", 70_000)) },
	} {
		w := newWorld(t, Options{})
		watcher, _ := w.enter("watcher", `{"type":"hello","room":"r"}`)
		c, welcome := w.enter(why, `{"type":"hello","room":"r"}`)
		watcher.want(`{"type":"peer","event":"join"}`)
		end(c)
		watcher.want(`{"type":"peer","event":"leave"}`)
		for {
			if _, err := c.tryHear(); err != nil {
				break
			}
		}
		_, again := w.enter(why, `{"type":"hello","resume":"`+welcome.str("resume")+`"}`)
		if again["resumed"] != false {
			t.Errorf("%s: resumed", why)
		}
	}
}

// What others have heard the end of is not resumed, even if its socket is still to be told.
func TestTheLeavingCannotBeResumed(t *testing.T) {
	w := newWorld(t, Options{})
	watcher, _ := w.enter("watcher", `{"type":"hello","room":"r"}`)
	_, welcome := w.enter("leaving", `{"type":"hello","room":"r"}`)
	watcher.want(`{"type":"peer","event":"join"}`)
	s := w.hub.session(welcome.str("peer"))
	s.in.do(time.Now(), func(t *Tenant, out []Delivery) []Delivery {
		return t.Remove(s.member, ReasonLimits, false, out)
	})
	watcher.want(`{"type":"peer","event":"leave"}`)

	next, again := w.enter("next", `{"type":"hello","resume":"`+welcome.str("resume")+`"}`)
	if again["resumed"] != false || again.str("peer") == welcome.str("peer") {
		t.Fatalf("%v", again)
	}
	s.finish(CloseTooBig, "message too big", true)
	next.wantSilence("it is another session")
}

func TestTooMuchMissedCannotBeResumed(t *testing.T) {
	w := newWorld(t, Options{Limits: Limits{Queue: 4, Rate: 1000, Burst: 1000}})
	ann, _ := w.enter("ann", `{"type":"hello","room":"r"}`)
	bob, welcome := w.enter("bob", `{"type":"hello","room":"r"}`)
	ann.want(`{"type":"peer","event":"join"}`)
	for i := range 20 {
		ann.say(`{"type":"message","to":"#r","data":%d}`, i)
		bob.want(`{"type":"message","data":%d}`, i)
	}
	bob.cut()
	ann.want(`{"type":"peer","event":"away"}`)
	_, again := w.enter("bob", `{"type":"hello","room":"r","seq":1,"resume":"`+welcome.str("resume")+`"}`)
	if again["resumed"] != false {
		t.Fatalf("resumed with a gap: %v", again)
	}
	ann.want(`{"type":"peer","event":"leave","reason":"lost"}`)
	ann.want(`{"type":"peer","event":"join"}`)
}

func TestWhatIsSentToTheAbsentIsBounded(t *testing.T) {
	w := newWorld(t, Options{Limits: Limits{Queue: 4}})
	ann, _ := w.enter("ann", `{"type":"hello","room":"r"}`)
	bob, welcome := w.enter("bob", `{"type":"hello","room":"r"}`)
	ann.want(`{"type":"peer","event":"join"}`)
	bob.cut()
	ann.want(`{"type":"peer","event":"away"}`)
	cyd, _ := w.enter("cyd", `{"type":"hello","room":"r"}`) // which bob has to hear, too
	ann.want(`{"type":"peer","event":"join"}`)
	for range 2 {
		ann.say(`{"type":"message","to":"#r","data":0}`)
		cyd.want(`{"type":"message"}`)
	}
	cyd.say(`{"type":"message","to":"#r","data":0}`)
	ann.want(`{"type":"message"}`)
	cyd.say(`{"type":"message","to":"#r","data":0}`)
	ann.want(`{"type":"message"}`)
	ann.want(`{"type":"peer","event":"leave","reason":"slow","peer":"%s"}`, welcome.str("peer"))
}
