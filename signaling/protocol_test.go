package signaling

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"rtcd/creds"
)

// step is one block or one directive of PROTOCOL.md.
type step struct {
	line int
	verb string // client, server, cut, closed, drain, restart
	name string
	arg  string // the JSON, or the close code
}

var (
	fence     = regexp.MustCompile("^```json (client|server)=([a-z]+)$")
	directive = regexp.MustCompile(`^<!-- test: ([a-z]+) ?([a-z]*) ?([0-9]*) -->$`)
)

// readScript takes the conversation out of the page. A JSON block without a
// speaker is an error: every one is played.
func readScript(t *testing.T, path string) []step {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var steps []step
	inside := false
	scan := bufio.NewScanner(file)
	for n := 1; scan.Scan(); n++ {
		line := scan.Text()
		switch {
		case inside && line == "```":
			inside = false
		case inside:
			steps[len(steps)-1].arg += line + "\n"
		case strings.HasPrefix(line, "```json check="):
			return steps // what follows is no conversation on the socket: cmd/rtcd plays it
		case strings.HasPrefix(line, "```"):
			m := fence.FindStringSubmatch(line)
			if m == nil {
				t.Fatalf("line %d: a block that nobody says: %s", n, line)
			}
			inside = true
			steps = append(steps, step{line: n, verb: m[1], name: m[2]})
		case strings.HasPrefix(line, "<!--"):
			m := directive.FindStringSubmatch(line)
			if m == nil {
				t.Fatalf("line %d: not understood: %s", n, line)
			}
			steps = append(steps, step{line: n, verb: m[1], name: m[2], arg: m[3]})
		}
	}
	return steps
}

// stage plays a script: the clients by name, and what the $words stand for.
type stage struct {
	t       *testing.T
	world   *world
	clients map[string]*client
	words   map[string]any
}

// TestProtocolPage plays every block of PROTOCOL.md against a hub on real sockets.
func TestProtocolPage(t *testing.T) {
	options := Options{
		ICE: &mint{ttl: time.Hour},
		Auth: tokens{
			"token of alice": creds.Claims{Name: "alice", Room: "standup", Expires: never},
			"token of bob":   creds.Claims{Name: "bob", Room: "standup", Expires: never},
			"token of carol": creds.Claims{Name: "carol", Room: "standup", Expires: never, Perms: []string{"signal", "message", "kick"}},
		},
	}
	s := &stage{
		t: t, world: newWorld(t, options), clients: map[string]*client{},
		words: map[string]any{"$aliceToken": "token of alice", "$bobToken": "token of bob", "$carolToken": "token of carol"},
	}
	steps := readScript(t, "../PROTOCOL.md")
	for _, step := range steps {
		switch step.verb {
		case "client":
			s.client(step.name).say("%s", s.fill(step))
		case "server":
			s.compare(step)
		case "cut":
			s.clients[step.name].cut()
			delete(s.clients, step.name)
		case "closed":
			code, _ := strconv.Atoi(step.arg)
			s.clients[step.name].wantClosed(code)
			delete(s.clients, step.name)
		case "drain":
			s.world.hub.Drain(10 * time.Second)
		case "restart":
			s.world = newWorld(t, options)
		default:
			t.Fatalf("line %d: %s?", step.line, step.verb)
		}
	}
	if len(steps) < 50 {
		t.Fatalf("only %d steps: where is the page?", len(steps))
	}
}

func (s *stage) client(name string) *client {
	c := s.clients[name]
	if c == nil {
		c = s.world.open(name, nil)
		s.clients[name] = c
	}
	return c
}

var word = regexp.MustCompile(`"\$[A-Za-z0-9]+"`)

// fill puts the values in place of the words.
func (s *stage) fill(step step) string {
	return word.ReplaceAllStringFunc(step.arg, func(w string) string {
		value, found := s.words[strings.Trim(w, `"`)]
		if !found {
			s.t.Fatalf("line %d: nobody has said what %s is", step.line, w)
		}
		b, _ := json.Marshal(value)
		return string(b)
	})
}

// compare hears the next frame and compares it with the block, to the field.
func (s *stage) compare(step step) {
	s.t.Helper()
	var want any
	if err := json.Unmarshal([]byte(step.arg), &want); err != nil {
		s.t.Fatalf("line %d: %v", step.line, err)
	}
	got := map[string]any(s.client(step.name).hear())
	if where := s.differ("", want, any(got)); where != "" {
		b, _ := json.MarshalIndent(got, "", "  ")
		s.t.Fatalf("PROTOCOL.md:%d: at %s\n%s hears %s", step.line, where, step.name, b)
	}
}

// differ returns where got is not what is wanted, "" if it is.
func (s *stage) differ(path string, want, got any) string {
	switch w := want.(type) {
	case string:
		if strings.HasPrefix(w, "$") {
			if known, found := s.words[w]; found {
				want = known
			} else {
				s.words[w] = got
				return ""
			}
		}
	case []any:
		g, ok := got.([]any)
		if !ok || len(g) != len(w) {
			return fmt.Sprintf("%s: a list of another length", path)
		}
		for i := range w {
			if where := s.differ(fmt.Sprintf("%s[%d]", path, i), w[i], g[i]); where != "" {
				return where
			}
		}
		return ""
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok {
			return path + ": not an object"
		}
		for k := range g {
			if _, expected := w[k]; !expected {
				return fmt.Sprintf("%s.%s: not on the page", path, k)
			}
		}
		for k := range w {
			v, there := g[k]
			if !there {
				return fmt.Sprintf("%s.%s: missing", path, k)
			}
			if where := s.differ(path+"."+k, w[k], v); where != "" {
				return where
			}
		}
		return ""
	}
	if !reflect.DeepEqual(want, got) {
		return fmt.Sprintf("%s: %v, want %v", path, got, want)
	}
	return ""
}
