package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Fault is one thing that is wrong.
type Fault struct {
	Source  string // the file, environment variable or flag
	Line    int    // from 1; 0 outside a file
	Column  int    // in bytes from 1
	Width   int    // bytes to mark, at least 1
	Path    string // turn.realm; "" for the file as a whole
	Message string

	text string // the line itself
}

func (f Fault) String() string {
	var b strings.Builder
	b.WriteString(f.Source)
	if f.Line > 0 {
		fmt.Fprintf(&b, ":%d", f.Line)
		if f.Column > 0 {
			fmt.Fprintf(&b, ":%d", f.Column)
		}
	}
	if f.Path != "" {
		b.WriteString(": " + f.Path)
	}
	b.WriteString(": " + f.Message)
	if f.Line > 0 && f.text != "" {
		fmt.Fprintf(&b, "\n%5d | %s", f.Line, f.text)
		if f.Column > 0 {
			fmt.Fprintf(&b, "\n      | %s%s", f.indent(), f.mark())
		}
	}
	return b.String()
}

// indent is as wide on the screen as the text before the column.
func (f Fault) indent() string {
	before := f.text[:min(f.Column-1, len(f.text))]
	return strings.Map(func(r rune) rune {
		if r == '\t' {
			return r
		}
		return ' '
	}, before)
}

func (f Fault) mark() string {
	from := min(f.Column-1, len(f.text))
	to := min(from+f.Width, len(f.text))
	return strings.Repeat("^", max(1, utf8.RuneCountInString(f.text[from:to])))
}

// Error is every fault of a configuration.
type Error struct{ Faults []Fault }

func (e *Error) Error() string {
	var b strings.Builder
	for _, f := range e.Faults {
		b.WriteString(f.String() + "\n")
	}
	what := "fault"
	if len(e.Faults) > 1 {
		what = "faults"
	}
	fmt.Fprintf(&b, "%d %s in the configuration", len(e.Faults), what)
	return b.String()
}

// asError sorts the faults by place and returns nil if there are none.
func asError(faults []Fault) error {
	if len(faults) == 0 {
		return nil
	}
	slices.SortStableFunc(faults, func(a, b Fault) int {
		return cmp.Or(cmp.Compare(a.Source, b.Source), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return &Error{faults}
}
