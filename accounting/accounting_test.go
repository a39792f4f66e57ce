package accounting

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"rtcd/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m, "rtcd/accounting") }

var (
	noon  = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	relay = netip.MustParseAddrPort("203.0.113.5:50123")
)

// calendar is a clock that the test sets.
type calendar struct{ now time.Time }

func (c *calendar) read() time.Time { return c.now }

func newFile(t *testing.T, keep Keeping) (*File, *calendar) {
	t.Helper()
	c := &calendar{noon}
	f, err := openFile(filepath.Join(t.TempDir(), "books", "a.jsonl"), keep, c.read)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f, c
}

func (f *File) mustWrite(t *testing.T, line string) {
	t.Helper()
	if err := f.Write([]byte(line + "\n")); err != nil {
		t.Fatal(err)
	}
}

// wantFiles compares the family, and what is in it, with the files given.
func wantFiles(t *testing.T, f *File, want ...string) {
	t.Helper()
	files, err := Files(f.Path())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v %v", name, info.Mode(), err)
		}
		got = append(got, filepath.Base(name)+": "+strings.ReplaceAll(strings.TrimSpace(string(data)), "\n", " "))
	}
	if !slices.Equal(got, want) {
		t.Errorf("files\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

// TestFilesAreForgotten: a file ends with its day or when it is full, and goes when all in
// it is too old or all of them are too much.
func TestFilesAreForgotten(t *testing.T) {
	f, c := newFile(t, Keeping{Age: 48 * time.Hour, Size: 80}) // ten bytes a file
	f.mustWrite(t, "one")
	f.mustWrite(t, "two")
	wantFiles(t, f, "a.jsonl: one two")
	c.now = noon.Add(time.Minute)
	f.mustWrite(t, "three")
	wantFiles(t, f, "a-20260102T120100.000Z.jsonl: one two", "a.jsonl: three")

	c.now = noon.Add(24 * time.Hour)
	f.Tidy()
	wantFiles(t, f, "a-20260102T120100.000Z.jsonl: one two", "a-20260103T120000.000Z.jsonl: three", "a.jsonl: ")
	c.now = noon.Add(48*time.Hour + 2*time.Minute)
	f.Tidy()
	wantFiles(t, f, "a-20260103T120000.000Z.jsonl: three", "a.jsonl: ")

	for range 20 { // of ten bytes each: seven are put aside, one is new
		c.now = c.now.Add(time.Second)
		f.mustWrite(t, "123456789")
	}
	files, err := Files(f.Path())
	if err != nil || len(files) != parts {
		t.Errorf("%d files %v, want %d", len(files), err, parts)
	}
	f.Keep(Keeping{Size: 10 * parts / 2})
	if files, _ = Files(f.Path()); len(files) != parts/2 {
		t.Errorf("%d files after half was to be kept", len(files))
	}
}

// TestAFileIsTakenUp: what a process before left is read on, in its own day's file, and
// half a line that it left does not spoil the next.
func TestAFileIsTakenUp(t *testing.T) {
	f, c := newFile(t, Keeping{})
	f.mustWrite(t, `{"id":"1","relay":["203.0.113.5:1"]}`)
	f.Close()
	torn, err := os.OpenFile(f.Path(), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	torn.WriteString(`{"id":"2","rel`)
	torn.Close()
	if err := os.Chtimes(f.Path(), noon, noon); err != nil {
		t.Fatal(err)
	}
	open := func() *File {
		t.Helper()
		f, err := openFile(f.Path(), Keeping{}, c.read)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	f = open()
	f.mustWrite(t, `{"id":"3","relay":["203.0.113.5:1"]}`)
	files, _ := Files(f.Path())
	found, bad, err := Search(files, Question{Port: 1})
	if err != nil || len(found) != 2 || bad != 1 {
		t.Errorf("found %+v, %d bad, %v", found, bad, err)
	}
	f.Close()
	if err := os.Chtimes(f.Path(), noon, noon); err != nil {
		t.Fatal(err)
	}
	c.now = noon.Add(24 * time.Hour)
	f = open()
	if files, _ := Files(f.Path()); len(files) != 2 || filepath.Base(files[0]) != "a-20260102T120000.000Z.jsonl" {
		t.Errorf("files %v", files)
	}
}

// world is a ledger with a relay and a hub that the test plays.
type world struct {
	*Ledger
	log   bytes.Buffer
	ended chan error

	mu    sync.Mutex // guards the following
	live  []Record
	where map[string]Place
}

func (w *world) play(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

func newWorld(t *testing.T) *world {
	w := &world{where: map[string]Place{}, ended: make(chan error, 1)}
	w.Ledger = New(Options{
		Live:  func() (live []Record) { w.play(func() { live = slices.Clone(w.live) }); return live },
		Place: func(user string) (p Place) { w.play(func() { p = w.where[user] }); return p },
		Log:   slog.New(slog.NewTextHandler(&w.log, nil)),
	})
	f, err := OpenFile(filepath.Join(t.TempDir(), "a.jsonl"), Keeping{})
	if err != nil {
		t.Fatal(err)
	}
	w.SetFile(f)
	// The test owns it; Close ends it.
	go func() { w.ended <- w.Run(t.Context()) }()
	return w
}

func (w *world) records(t *testing.T, path string) (out []Record) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		var r Record
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		out = append(out, r)
	}
	return out
}

// TestLedger: the life of an allocation, with a balance each minute in which it has relayed
// something; its member's room is known to the end, though the member has left before.
func TestLedger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		path := w.File().Path()
		w.SetInterim(time.Minute)
		w.play(func() { w.where["ann"] = Place{Member: "ann", Name: "Ann", Rooms: []string{"r"}} })
		r := Record{Event: Start, ID: "x-1", User: "ann", Relay: []netip.AddrPort{relay}}
		w.Put(r)
		synctest.Wait()
		r.Event = Interim
		w.play(func() { w.live = []Record{r} })
		time.Sleep(61 * time.Second) // idle: nothing is told
		synctest.Wait()
		w.play(func() { w.live[0].SentPackets, w.live[0].SentBytes = 5, 500 })
		time.Sleep(10*time.Minute + time.Second) // told once
		synctest.Wait()
		w.play(func() { delete(w.where, "ann"); w.live = nil })
		r.Event, r.Reason, r.SentPackets = Stop, "released", 5
		w.Put(r)
		synctest.Wait()
		if len(w.places) != 0 || len(w.told) != 0 {
			t.Error("the ledger remembers an allocation that is gone")
		}
		w.Close()
		if err := <-w.ended; err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, r := range w.records(t, path) {
			got = append(got, string(r.Event)+" "+r.Name+" "+strings.Join(r.Rooms, ","))
		}
		if want := []string{"start Ann r", "interim Ann r", "stop Ann r"}; !slices.Equal(got, want) {
			t.Errorf("records %q, want %q", got, want)
		}
	})
}

// TestPutNeverWaits: while nobody takes records, one more than fit is counted as lost, and
// what is forgotten of an allocation whose stop was lost.
func TestPutNeverWaits(t *testing.T) {
	l := New(Options{Live: func() []Record { return nil }})
	for range queueLength + 3 {
		l.Put(Record{})
	}
	if n := counted(t, l, "queue"); n != 3 {
		t.Errorf("%v records are counted as lost, want 3", n)
	}
	l.told["gone"], l.places["gone"] = 1, Place{}
	l.forget(nil)
	if len(l.told) == 0 {
		t.Error("its stop may be in the queue")
	}
	for range queueLength {
		<-l.queue
	}
	l.forget(nil)
	if len(l.told)+len(l.places) != 0 {
		t.Error("it is remembered for ever")
	}
}

// TestFullDisk: records that cannot be written are counted, said once, and it goes on.
func TestFullDisk(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("needs /dev/full")
	}
	w := newWorld(t)
	good := w.File()
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	bad := &File{path: "full", now: time.Now, f: full}
	if err := bad.Write([]byte("x\n")); err == nil || !strings.Contains(err.Error(), syscall.ENOSPC.Error()) {
		t.Fatalf("the disk is not full: %v", err)
	}
	w.Ledger.mu.Lock()
	w.file = bad
	w.Ledger.mu.Unlock()
	for _, id := range []string{"a", "b"} {
		w.Put(Record{ID: id, Event: Start})
	}
	for end := time.Now().Add(time.Minute); counted(t, w.Ledger, "file") != 2; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("they are not counted")
		}
	}
	w.SetFile(good)
	w.Put(Record{ID: "c", Event: Start})
	w.Close()
	<-w.ended
	if got := w.records(t, good.Path()); len(got) != 1 || got[0].ID != "c" {
		t.Errorf("records %+v", got)
	}
	if log := w.log.String(); strings.Count(log, "are lost") != 1 || !strings.Contains(log, "written again") {
		t.Errorf("log:\n%s", log)
	}
}

func counted(t *testing.T, l *Ledger, sink string) float64 {
	t.Helper()
	registry := newRegistry(l)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "rtcd_accounting_dropped_total" && m.GetLabel()[0].GetValue() == sink {
				return m.GetCounter().GetValue()
			}
		}
	}
	t.Fatal("no metric")
	return 0
}
