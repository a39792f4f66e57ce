package manual

import (
	"fmt"
	"os"
	"regexp"
	"strings"
)

// block is a fenced block of a page.
type block struct {
	line     int // of its first line, from 1
	language string
	text     string
}

// blocks returns the fenced blocks of a Markdown file; fences within lists may be indented.
func blocks(path string) ([]block, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var out []block
	open, indent := false, ""
	for i, line := range strings.Split(string(data), "\n") {
		text := strings.TrimLeft(line, " ")
		switch {
		case strings.HasPrefix(text, "```") && !open:
			indent = line[:len(line)-len(text)]
			out = append(out, block{line: i + 2, language: strings.TrimPrefix(text, "```")})
			open = true
		case text == "```" && open:
			open = false
		case open:
			out[len(out)-1].text += strings.TrimPrefix(line, indent) + "\n"
		}
	}
	if open {
		return nil, fmt.Errorf("%s: a block has no end", path)
	}
	return out, nil
}

// comment is what blocks of two languages may differ in.
var comment = regexp.MustCompile(`(?m)(^|\s+)(#|//) .*$`)

// code is a block without its comments.
func (b block) code() string { return comment.ReplaceAllString(b.text, "") }
