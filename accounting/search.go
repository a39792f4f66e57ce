package accounting

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"time"
)

// Question is what Search looks for. Zero values admit anything.
type Question struct {
	Port   uint16     // of the relayed address
	Relay  netip.Addr // relayed address
	Client netip.Addr
	User   string // or the member's id, or its name
	At     time.Time
	Slack  time.Duration // how long after its last record an allocation without a stop may have lived
}

// Life is what the books say of one allocation.
type Life struct {
	Record       // the last one, with all relayed addresses that any of them names
	Stopped bool `json:"stopped"` // else it lives, or the process ended without a word
}

// until is when it had ended for certain.
func (l *Life) until(slack time.Duration) time.Time {
	if l.Stopped {
		return l.Time
	}
	return l.Time.Add(slack)
}

// Search finds the allocations that answer a question, in the order of their start. Lines
// that are no records are counted and passed over: a full disk may have left some.
func Search(files []string, q Question) (found []Life, bad int, err error) {
	lives := map[string]*Life{}
	for _, name := range files {
		n, err := scan(name, func(r *Record) {
			if !q.admits(r) {
				return
			}
			l := lives[r.ID]
			if l == nil {
				l = &Life{}
				lives[r.ID] = l
			}
			relay := l.Relay
			for _, a := range r.Relay {
				if !slices.Contains(relay, a) {
					relay = append(relay, a)
				}
			}
			l.Record, l.Stopped = *r, l.Stopped || r.Event == Stop
			l.Relay = relay
		})
		if bad += n; err != nil && !errors.Is(err, fs.ErrNotExist) { // it may just have been forgotten
			return nil, bad, err
		}
	}
	for _, l := range lives {
		if q.At.IsZero() || !q.At.Before(l.Started) && !q.At.After(l.until(q.Slack)) {
			found = append(found, *l)
		}
	}
	slices.SortFunc(found, func(a, b Life) int { return a.Started.Compare(b.Started) })
	return found, bad, nil
}

func (q *Question) admits(r *Record) bool {
	at := func(a netip.AddrPort) bool {
		return (q.Port == 0 || a.Port() == q.Port) && (!q.Relay.IsValid() || a.Addr() == q.Relay)
	}
	return slices.ContainsFunc(r.Relay, at) && (!q.Client.IsValid() || r.Client.Addr() == q.Client) &&
		(q.User == "" || r.User == q.User || r.Member == q.User || r.Name == q.User)
}

// maxLine bounds a line; records are far shorter.
const maxLine = 64 << 10

func scan(name string, each func(*Record)) (bad int, err error) {
	f, err := os.Open(name)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for r := bufio.NewReaderSize(f, maxLine); ; {
		line, err := r.ReadSlice('\n')
		if errors.Is(err, io.EOF) {
			return bad, nil // the last line may be half written yet
		}
		if len(bytes.TrimSpace(line)) == 0 && err == nil {
			continue
		}
		var record Record
		if err != nil || json.Unmarshal(line, &record) != nil || record.ID == "" {
			bad++
			if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
				return bad, err
			}
			continue
		}
		each(&record)
	}
}
