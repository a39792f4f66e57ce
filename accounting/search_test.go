package accounting

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

func newRegistry(l *Ledger) *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(l.Collector())
	return r
}

// books writes files and returns their names.
func books(t testing.TB, files ...[]Record) (names []string) {
	t.Helper()
	dir := t.TempDir()
	for i, records := range files {
		name := filepath.Join(dir, fmt.Sprintf("%d.jsonl", i))
		f, err := os.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range records {
			if err := json.NewEncoder(f).Encode(r); err != nil {
				t.Fatal(err)
			}
		}
		f.Close()
		names = append(names, name)
	}
	return names
}

// TestSearch: two users had the same port one after the other, a third one's process ended
// without a word, and a fourth had another port.
func TestSearch(t *testing.T) {
	at := func(id, user string, kind Kind, started, now int, port uint16) Record {
		return Record{
			Event: kind, ID: id, User: user, Started: noon.Add(time.Duration(started) * time.Minute),
			Time: noon.Add(time.Duration(now) * time.Minute), Client: netip.MustParseAddrPort("192.0.2.7:5000"),
			Relay: []netip.AddrPort{netip.AddrPortFrom(relay.Addr(), port)},
		}
	}
	files := books(t,
		[]Record{
			at("1", "ann", Start, 0, 0, 50), at("1", "ann", Interim, 0, 1, 50), at("4", "dan", Start, 0, 0, 51),
			at("1", "ann", Stop, 0, 10, 50),
		},
		[]Record{
			at("2", "bob", Start, 12, 12, 50), at("2", "bob", Stop, 12, 20, 50),
			at("3", "cat", Start, 30, 30, 50), at("3", "cat", Interim, 30, 40, 50),
		})
	for _, c := range []struct {
		name string
		q    Question
		want string
	}{
		{"the first", Question{Port: 50, At: noon.Add(5 * time.Minute)}, "ann "},
		{"at its very end", Question{Port: 50, At: noon.Add(10 * time.Minute)}, "ann "},
		{"while the port rests", Question{Port: 50, At: noon.Add(11 * time.Minute)}, ""},
		{"the second", Question{Port: 50, At: noon.Add(15 * time.Minute)}, "bob "},
		{"before it", Question{Port: 50, At: noon.Add(-time.Minute)}, ""},
		{"no stop, and alive", Question{Port: 50, At: noon.Add(35 * time.Minute)}, "cat "},
		{"no stop, and perhaps alive", Question{Port: 50, At: noon.Add(41 * time.Minute), Slack: 2 * time.Minute}, "cat "},
		{"no stop, and too late", Question{Port: 50, At: noon.Add(43 * time.Minute), Slack: 2 * time.Minute}, ""},
		{"at any time", Question{Port: 50}, "ann bob cat "},
		{"another port", Question{Port: 51, At: noon.Add(time.Hour), Slack: 2 * time.Hour}, "dan "},
		{"by user", Question{User: "bob"}, "bob "},
		{"by address", Question{Port: 50, Relay: netip.MustParseAddr("203.0.113.6")}, ""},
		{"by client", Question{Client: netip.MustParseAddr("192.0.2.8")}, ""},
	} {
		found, bad, err := Search(files, c.q)
		got := ""
		for _, l := range found {
			got += l.User + " "
		}
		if got != c.want || bad != 0 || err != nil {
			t.Errorf("%s: %q, %d bad, %v; want %q", c.name, got, bad, err, c.want)
		}
	}
}

// FuzzSearch: whatever is in a file, what is not a record is passed over.
func FuzzSearch(f *testing.F) {
	f.Add([]byte("{\"id\":\"1\",\"relay\":[\"203.0.113.5:50\"]}\n{\"id\":2}\n\n[]\nnull\n{"))
	f.Fuzz(func(t *testing.T, data []byte) {
		name := filepath.Join(t.TempDir(), "a.jsonl")
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
		found, _, err := Search([]string{name}, Question{Port: 50})
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range found {
			if l.ID == "" {
				t.Errorf("%+v", l)
			}
		}
	})
}
