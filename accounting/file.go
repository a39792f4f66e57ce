package accounting

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Keeping says how long files are kept.
type Keeping struct {
	Age  time.Duration // records older than this go, a day later at most; 0 = never
	Size int64         // bytes of all files together, the oldest go first; 0 = any
}

// parts is in how many files the size is spread, so that little is forgotten at once.
const parts = 8

// stamp is the end of a file's time, in the name of one that was put aside. It sorts.
const stamp = "20060102T150405.000Z"

// File is the newest of a family of files: accounting.jsonl, and beside it
// accounting-20260102T150405.000Z.jsonl with what ended then. A new one begins with each
// day (UTC) and when it has grown to an eighth of the size kept. Others may read them at
// any time. They have mode 0600.
//
// It is not a library's: retention has to hold for a server that nobody calls, whose file
// is never full, and no goroutine may be left behind.
type File struct {
	path string
	now  func() time.Time

	mu   sync.Mutex // guards the following
	keep Keeping
	f    *os.File
	size int64
	day  string // of what is in it
	torn bool   // the last write failed in the middle of a line
}

// OpenFile opens the family at path for writing, and makes its directory.
func OpenFile(path string, keep Keeping) (*File, error) {
	return openFile(path, keep, time.Now)
}

func openFile(path string, keep Keeping, now func() time.Time) (*File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	f := &File{path: filepath.Clean(path), keep: keep, now: now}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.openLocked(); err != nil {
		return nil, err
	}
	f.tidyLocked()
	return f, nil
}

// Path is the name of the newest file.
func (f *File) Path() string { return f.path }

// Keep changes how long files are kept.
func (f *File) Keep(k Keeping) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.keep = k
	f.tidyLocked()
}

// Write appends one line, its end included: all of it or, with an error, nothing that a
// reader would take for a line.
func (f *File) Write(line []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.f == nil { // it could not be opened when the last one was put aside
		if err := f.openLocked(); err != nil {
			return err
		}
	}
	full := f.keep.Size > 0 && f.size+int64(len(line)) > f.keep.Size/parts
	if f.size > 0 && (full || f.day != f.today()) {
		if err := f.turnLocked(f.now()); err != nil {
			return err
		}
		f.tidyLocked()
	}
	if f.torn {
		line = append([]byte("\n"), line...)
	}
	n, err := f.f.Write(line)
	f.size += int64(n)
	f.torn = err != nil && (n > 0 || f.torn)
	if f.day == "" {
		f.day = f.today()
	}
	return err
}

// Tidy puts aside what is of another day and forgets what is too old, for a server that
// nobody calls. It wants to be called now and then.
func (f *File) Tidy() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.f != nil && f.size > 0 && f.day != f.today() {
		if f.turnLocked(f.now()) != nil {
			return // the next write tells
		}
	}
	f.tidyLocked()
}

// Close ends writing.
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.f == nil {
		return nil
	}
	err := f.f.Close()
	f.f = nil
	return err
}

func (f *File) today() string { return f.now().UTC().Format(time.DateOnly) }

// openLocked opens the newest file. What another process left there is of the day of its
// last change.
func (f *File) openLocked() error {
	file, err := os.OpenFile(f.path, os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err != nil {
		file.Close()
		return err
	}
	f.f, f.size, f.day, f.torn = file, info.Size(), "", false
	if f.size == 0 {
		return nil
	}
	var last [1]byte
	if _, err := file.ReadAt(last[:], f.size-1); err == nil {
		f.torn = last[0] != '\n' // that process ended in the middle of a line
	}
	f.day = info.ModTime().UTC().Format(time.DateOnly)
	if f.day != f.today() {
		return f.turnLocked(info.ModTime())
	}
	return nil
}

// turnLocked puts the file aside, as one that ended at a time, and begins another.
func (f *File) turnLocked(ended time.Time) error {
	f.f.Close()
	f.f = nil
	aside := strings.TrimSuffix(f.path, suffix) + "-" + ended.UTC().Format(stamp) + suffix
	if err := os.Rename(f.path, aside); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return f.openLocked()
}

const suffix = ".jsonl"

// tidyLocked removes what is too old or too much; the newest file stays.
func (f *File) tidyLocked() {
	list, err := Files(f.path)
	if err != nil {
		return
	}
	total := max(f.size, f.keep.Size/parts) // that it may grow to
	slices.Reverse(list)                    // the newest first
	for _, name := range list {
		if name == f.path {
			continue
		}
		info, err := os.Stat(name)
		if err != nil {
			continue
		}
		total += info.Size()
		ended, _ := endOf(f.path, name)
		old := f.keep.Age > 0 && f.now().Sub(ended) > f.keep.Age
		if old || f.keep.Size > 0 && total > f.keep.Size {
			os.Remove(name)
		}
	}
}

// endOf reads the time in the name of a file that was put aside.
func endOf(path, name string) (time.Time, bool) {
	text, ok := strings.CutPrefix(name, strings.TrimSuffix(path, suffix)+"-")
	if !ok {
		return time.Time{}, false
	}
	t, err := time.Parse(stamp, strings.TrimSuffix(text, suffix))
	return t, err == nil
}

// Files lists a family in the order of time, the newest last.
func Files(path string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	var list []string
	for _, e := range entries { // by name, which is by time
		name := filepath.Join(filepath.Dir(path), e.Name())
		if _, ok := endOf(filepath.Clean(path), name); ok {
			list = append(list, name)
		}
	}
	if _, err := os.Stat(path); err == nil {
		list = append(list, filepath.Clean(path))
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("%s: %w", path, fs.ErrNotExist)
	}
	return list, nil
}
