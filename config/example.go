package config

import (
	"bytes"
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
	HTTPS, HTTP, Turns string // addresses, "" for off
	CertFile, KeyFile  string
	SecretFile         string
	TokenSecretFile    string
}

// ExampleSample is the sample of config.example.yaml.
var ExampleSample = Sample{
	Domain: "rtc.example.com",
	HTTPS:  ":443", HTTP: ":80", Turns: ":5349",
	CertFile:        "/etc/letsencrypt/live/rtc.example.com/fullchain.pem",
	KeyFile:         "/etc/letsencrypt/live/rtc.example.com/privkey.pem",
	SecretFile:      "/etc/rtcd/turn.secret",
	TokenSecretFile: "/etc/rtcd/token.secret",
}

// Example returns a file with every key, each with one comment.
func Example(s Sample) []byte {
	var b bytes.Buffer
	if err := exampleTemplate.Execute(&b, s); err != nil { // only for a broken template
		panic(err)
	}
	var aligned bytes.Buffer
	for line := range strings.Lines(b.String()) {
		if key, comment, ok := strings.Cut(line, " # "); ok {
			line = fmt.Sprintf("%-*s # %s", commentColumn, strings.TrimRight(key, " "), comment)
		}
		aligned.WriteString(line)
	}
	return aligned.Bytes()
}

const commentColumn = 36
