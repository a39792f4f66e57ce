//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// data is what every message carries: an ICE candidate as browsers make them.
const data = `{"candidate":"candidate:842163049 1 udp 1677729535 203.0.113.7 46154 typ srflx raddr 10.0.0.17 rport 46154 ` +
	`generation 0 ufrag EEtu network-id 1 network-cost 10","sdpMid":"0","sdpMLineIndex":0,"usernameFragment":"EEtu"}`

// load is rooms in which members talk.
type load struct {
	name   string
	what   string
	rooms  int
	size   int // members of a room
	window int // messages under way in a room
	direct bool
	core   bool // measured over TLS in the short form too
}

var allLoads = []load{
	{"fan-out 50, calm", "rooms of 50, one message under way in each", 4, 50, 1, false, false},
	{"fan-out 50, busy", "rooms of 50, 16 members speak at once in each", 4, 50, 16, false, true},
	{"fan-out 500, busy", "a room of 500, 16 members speak at once", 1, 500, 16, false, false},
	{"1:1, calm", "100 pairs, one signal under way in each", 100, 2, 1, true, true},
	{"1:1, busy", "100 pairs, 8 signals under way in each", 100, 2, 8, true, false},
}

// group is one room under load.
type group struct {
	members []*client
	frames  [][]byte // what each member says
	fan     int64    // receivers of a message
	window  int64
	stop    *atomic.Bool

	sent, got atomic.Int64
}

// received counts n messages and says what may be said now.
func (g *group) received(n int) {
	got := g.got.Add(int64(n))
	for !g.stop.Load() {
		sent := g.sent.Load()
		if sent >= got/g.fan+g.window {
			return
		}
		if g.sent.CompareAndSwap(sent, sent+1) {
			k := int(sent) % len(g.members)
			g.members[k].conn.Write(g.frames[k])
		}
	}
}

// crowd is all rooms of a load.
type crowd struct {
	groups []*group
	stop   atomic.Bool
	wg     sync.WaitGroup
	failed atomic.Pointer[error]
}

// gather connects everybody, and checks that one message of each room arrives whole.
func gather(p *process, l *load) (*crowd, error) {
	w := &crowd{}
	for i := range l.rooms {
		g := &group{fan: int64(l.size - 1), window: int64(l.window), stop: &w.stop}
		w.groups = append(w.groups, g)
		room := fmt.Sprintf("room%d", i)
		for range l.size {
			c, err := dial(p, room)
			if err != nil {
				w.disperse()
				return nil, err
			}
			g.members = append(g.members, c)
		}
		for k := range g.members {
			text := p.server.speaks.message(room, data)
			if l.direct {
				text = p.server.speaks.signal(g.members[(k+1)%l.size].peer, data)
			}
			g.frames = append(g.frames, frame(opText, text))
		}
		if err := g.check(); err != nil {
			w.disperse()
			return nil, err
		}
	}
	return w, nil
}

// check sends one message and looks at it in full: the data and who it is from.
func (g *group) check() error {
	if _, err := g.members[0].conn.Write(g.frames[0]); err != nil {
		return err
	}
	for _, c := range g.members[1:] {
		for {
			text, err := c.hear("")
			if err != nil {
				return err
			}
			if !strings.Contains(text, `"candidate:`) {
				continue // somebody joined
			}
			if !strings.Contains(text, `"from":"`+g.members[0].peer+`"`) || !carries(text) {
				return fmt.Errorf("a message arrived as %s", text)
			}
			break
		}
	}
	return nil
}

// carries says whether the JSON in text has data as a field, whatever its spelling.
func carries(text string) bool {
	var want any
	var m struct{ Data any }
	json.Unmarshal([]byte(data), &want)
	text = strings.TrimSuffix(text[strings.IndexByte(text, '{'):], "]")
	return json.Unmarshal([]byte(text), &m) == nil && reflect.DeepEqual(m.Data, want)
}

// begin starts the readers and the talk.
func (w *crowd) begin() {
	for _, g := range w.groups {
		for _, c := range g.members {
			w.listen(c, g.received)
		}
	}
	for _, g := range w.groups {
		g.received(0)
	}
}

// listen reads what comes to c.
func (w *crowd) listen(c *client, report func(n int)) {
	w.wg.Add(1)
	// Owned by the crowd; ends with its connection.
	go func() {
		defer w.wg.Done()
		err := c.count(len(data), "3", report)
		if !w.stop.Load() {
			w.failed.Store(&err)
		}
	}()
}

func (w *crowd) got() (n int64) {
	for _, g := range w.groups {
		n += g.got.Load()
	}
	return n
}

// end stops the talk and waits for what is under way; it must all arrive.
func (w *crowd) end() error {
	w.stop.Store(true)
	defer w.disperse()
	var missing int64
	for range 100 {
		missing = 0
		for _, g := range w.groups {
			missing += g.sent.Load()*g.fan - g.got.Load()
		}
		if missing == 0 {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return fmt.Errorf("%d messages did not arrive", missing)
}

func (w *crowd) disperse() {
	w.stop.Store(true)
	for _, g := range w.groups {
		for _, c := range g.members {
			c.conn.Close()
		}
	}
	w.wg.Wait()
}

// measureLoad takes one sample of a load.
func measureLoad(o options, p *process, l *load) (sample, error) {
	s := sample{Server: p.server.name, TLS: p.tls != nil, Load: l.name}
	w, err := gather(p, l)
	if err != nil {
		return s, err
	}
	w.begin()
	time.Sleep(o.warmup)
	m, err := meter(p, w)
	if err != nil {
		return s, err
	}
	time.Sleep(o.sample)
	if err := m.read(p, w, &s); err != nil {
		return s, err
	}
	if err := w.failed.Load(); err != nil {
		return s, *err
	}
	if s.Messages == 0 {
		return s, errors.New("nothing arrived")
	}
	return s, w.end()
}

// metering is the state of the counters at the beginning of a sample.
type metering struct {
	at       time.Time
	cpu, own time.Duration
	got      int64
}

func meter(p *process, w *crowd) (m metering, err error) {
	m.cpu, err = cpuTime(p.cmd.Process.Pid)
	m.own = ownTime()
	m.at, m.got = time.Now(), w.got()
	return m, err
}

func (m metering) read(p *process, w *crowd, s *sample) error {
	cpu, err := cpuTime(p.cmd.Process.Pid)
	took := time.Since(m.at)
	s.Messages = w.got() - m.got
	s.Seconds = took.Seconds()
	s.CPU = (cpu - m.cpu).Seconds()
	s.PerCPU = float64(s.Messages) / s.CPU
	s.PerSecond = float64(s.Messages) / s.Seconds
	s.Busy = s.CPU / s.Seconds
	s.Generator = (ownTime() - m.own).Seconds() / s.Seconds
	return err
}
