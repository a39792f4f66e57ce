package config

import (
	"bytes"
	"cmp"
	_ "embed"
	"fmt"
	"strings"
	"text/template"
)

//go:embed example.yaml.tmpl
var exampleText string

var exampleTemplate = template.Must(template.New("example").Funcs(template.FuncMap{
	"value": func(s string) string { return fmt.Sprintf("%q", s) },
}).Parse(exampleText))

// Sample holds what differs between the defaults, config.example.yaml and the
// file that `rtcd init` writes.
type Sample struct {
	Domain             string
	HTTPS, HTTP, Turns string  // addresses, "" for off
	TLSMode            TLSMode // "" = the default
	CertFile, KeyFile  string
	SecretFile         string
	TokenSecretFile    string
	Discovery          bool // ask others for the public address
}

// ExampleSample is the sample of config.example.yaml.
var ExampleSample = Sample{
	Domain: "rtc.example.com",
	HTTPS:  ":443", HTTP: ":80", Turns: ":5349",
	SecretFile:      "/etc/rtcd/turn.secret",
	TokenSecretFile: "/etc/rtcd/token.secret",
}

// Example returns a file with every key, each with one comment.
func Example(s Sample) []byte {
	s.TLSMode = cmp.Or(s.TLSMode, Default().TLS.Mode)
	var b bytes.Buffer
	if err := exampleTemplate.Execute(&b, s); err != nil { // only for a broken template
		panic(err)
	}
	c := Default()
	live := map[string]bool{}
	for _, f := range Fields(&c) {
		live[f.Path] = f.Live
	}
	var aligned bytes.Buffer
	var section []string
	for line := range strings.Lines(b.String()) {
		if key, comment, ok := strings.Cut(line, " # "); ok {
			line = fmt.Sprintf("%-*s # %s", commentColumn, strings.TrimRight(key, " "), comment)
		}
		if name, _, ok := strings.Cut(strings.TrimLeft(line, " "), ":"); ok && !strings.HasPrefix(name, "#") {
			depth := (len(line) - len(strings.TrimLeft(line, " "))) / 2
			section = append(section[:depth], name)
			if known, ok := live[strings.Join(section, ".")]; ok && !known {
				line = strings.TrimRight(line, "\n") + restartMark
			}
		}
		aligned.WriteString(line)
	}
	return aligned.Bytes()
}

const commentColumn = 36

// restartMark follows the comment of a key that a reload cannot change.
const restartMark = " (restart)\n"
