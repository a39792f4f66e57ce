package integrate

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
)

// Conversion is what became of a turnserver.conf.
type Conversion struct {
	YAML []byte // our configuration, with a comment on each key that says what it came from

	// What is not in it, each with the reason.
	NotNeeded, NotSupported, Unknown []Leftover
	Notes                            []string // what to look at in the result
	Secret                           bool     // YAML holds one
}

// Leftover is an option that has no key of ours.
type Leftover struct {
	Line   int
	Option string // without its value, which may be secret
	Reason string
}

func (l Leftover) String() string { return fmt.Sprintf("line %d, %s: %s", l.Line, l.Option, l.Reason) }

// line is one option of the file.
type line struct {
	number      int
	name, value string
}

// on is the value of a switch: without a value it is on.
func (l line) on() bool {
	switch strings.ToLower(l.value) {
	case "0", "off", "no", "false", "f":
		return false
	}
	return true
}

// printable is the name of an option that may be anything.
func (l line) printable() string {
	const enough = 40
	name := l.name
	if len(name) > enough {
		name = name[:enough] + "…"
	}
	if strings.ContainsFunc(name, func(r rune) bool { return r > unicode.MaxASCII && r != '…' || !unicode.IsPrint(r) }) {
		return strconv.QuoteToASCII(name)
	}
	return name
}

// maxCoturnLine bounds one line of a turnserver.conf in bytes.
const maxCoturnLine = 64 << 10

// readCoturn splits a turnserver.conf as coturn does: a name, then any of blank, tab
// and "=", then the rest of the line, perhaps in double quotes. Lines that begin with
// "#" are comments; there are none behind a value.
func readCoturn(r io.Reader) ([]line, error) {
	var lines []line
	s := bufio.NewScanner(r)
	s.Buffer(nil, maxCoturnLine)
	for n := 1; s.Scan(); n++ {
		text := strings.TrimSpace(s.Text())
		if text == "" || text[0] == '#' {
			continue
		}
		l := line{number: n, name: text}
		if i := strings.IndexAny(text, " \t="); i >= 0 {
			l.name, l.value = text[:i], strings.TrimLeft(text[i:], " \t=")
		}
		if quoted, ok := strings.CutPrefix(l.value, `"`); ok {
			l.value = strings.TrimSuffix(quoted, `"`)
		}
		lines = append(lines, l)
	}
	if err := s.Err(); err != nil {
		return nil, fmt.Errorf("not a turnserver.conf: %w", err)
	}
	return lines, nil
}

// ReadCoturn converts a turnserver.conf. Each of its options is a key of the result or
// in one of the lists: nothing is lost in silence. Its error is that a value cannot be
// understood, or that it is no such file.
func ReadCoturn(r io.Reader) (*Conversion, error) {
	lines, err := readCoturn(r)
	if err != nil {
		return nil, err
	}
	c := newConverter()
	for _, l := range lines {
		switch o, known := coturnOptions[l.name]; {
		case !known:
			c.Unknown = append(c.Unknown, Leftover{l.number, l.printable(), "no option that coturn is known to have"})
		case o.take != nil:
			if err := o.take(c, l); err != nil {
				return nil, fmt.Errorf("line %d, %s: %w", l.number, l.name, err)
			}
		case o.dropped != "":
			c.NotSupported = append(c.NotSupported, Leftover{l.number, l.name, o.dropped})
		default:
			c.NotNeeded = append(c.NotNeeded, Leftover{l.number, l.name, o.needless})
		}
	}
	if err := c.finish(); err != nil {
		return nil, err
	}
	return &c.Conversion, nil
}
