package config

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
)

// maxFile bounds the length of a configuration file in bytes.
const maxFile = 1 << 20

// Input is all that decides a configuration.
type Input struct {
	File string // its path, "" for none
	Data []byte // its contents; nil means they are read from File

	Environ []string // NAME=value, as os.Environ gives them
	Flags   []Setting
}

// Setting is one key given on the command line.
type Setting struct{ Path, Text string }

// Provenance says where a value came from: default, the file with its line, an
// environment variable, or a flag.
type Provenance struct {
	Source       string
	Line, Column int
	width        int
}

func (p Provenance) String() string {
	if p.Line > 0 {
		return fmt.Sprintf("%s:%d", p.Source, p.Line)
	}
	return p.Source
}

// Loaded is a configuration without fault.
type Loaded struct {
	Config
	File     string                // "" for none
	Data     []byte                // its contents
	From     map[string]Provenance // by path; a key that is missing has its default
	Warnings []string              // what works, but should be looked at
}

// Load merges defaults, file, environment and flags, reads the secret files and
// checks everything. Its error is an *[Error] with every fault, or says that the
// file cannot be read.
func Load(in Input) (*Loaded, error) {
	if in.File != "" && in.Data == nil {
		data, err := os.ReadFile(in.File)
		if err != nil {
			return nil, err
		}
		in.Data = data
	}
	l := &loader{
		Loaded: Loaded{Config: Default(), File: in.File, Data: in.Data, From: map[string]Provenance{}},
		data:   in.Data,

		secretLines: map[int]bool{},
	}
	l.fields = Fields(&l.Config)
	l.applyFile()
	l.applyEnviron(in.Environ)
	l.credentials = variable(in.Environ, "CREDENTIALS_DIRECTORY")
	for _, s := range in.Flags {
		l.applyText("--set "+s.Path, s.Path, s.Text)
	}
	l.limitMapped()
	l.readSecretFiles()
	l.validate()
	if err := asError(l.faults); err != nil {
		return nil, err
	}
	return &l.Loaded, nil
}

// loader collects values and faults; one goroutine uses it once.
type loader struct {
	Loaded
	fields []Field
	data   []byte
	lines  []string
	faults []Fault
	broken map[string]bool // paths that already have a fault

	secretLines map[int]bool // lines of the file with a secret on them
	credentials string       // directory of what the service manager hands over; "" = none
}

// variable is the value of an environment variable, "" if it is not set.
func variable(environ []string, name string) (value string) {
	for _, e := range environ {
		if n, v, _ := strings.Cut(e, "="); n == name {
			value = v
		}
	}
	return value
}

func (l *loader) field(path string) (Field, bool) {
	i := slices.IndexFunc(l.fields, func(f Field) bool { return f.Path == path })
	if i < 0 {
		return Field{}, false
	}
	return l.fields[i], true
}

func (l *loader) paths() []string {
	paths := make([]string, len(l.fields))
	for i, f := range l.fields {
		paths[i] = f.Path
	}
	return paths
}

// fault records what is wrong with the value at path, at the place it came from.
func (l *loader) fault(path, format string, args ...any) {
	from, ok := l.From[path]
	if !ok {
		from = Provenance{Source: "configuration"}
		if l.File != "" {
			from.Source = l.File
		}
	}
	l.faultAt(from, path, fmt.Sprintf(format, args...))
}

func (l *loader) faultAt(at Provenance, path, message string) {
	f := Fault{
		Source: at.Source, Line: at.Line, Column: at.Column, Width: at.width,
		Path: path, Message: message,
	}
	if at.Line > 0 && at.Line <= len(l.lines) {
		f.text = l.quotable(at.Line)
	}
	if l.broken == nil {
		l.broken = map[string]bool{}
	}
	l.broken[path] = true
	l.faults = append(l.faults, f)
}

// quotable returns a line of the file, or "" if there may be a secret on it, also
// under a misspelt key or in a file that is no YAML.
func (l *loader) quotable(line int) string {
	text := l.lines[line-1]
	if l.secretLines[line] || secretish.MatchString(strings.ReplaceAll(text, "_file", "")) {
		return ""
	}
	return text
}

var secretish = regexp.MustCompile(`(?i)secret|key:|api.?key|password|^\s*-`)

// applyText sets one key from the environment or a flag.
func (l *loader) applyText(source, path, text string) {
	field, ok := l.field(path)
	if !ok {
		l.faultAt(Provenance{Source: source}, path, "unknown key"+suggest(path, l.paths()))
		return
	}
	l.From[path] = Provenance{Source: source}
	if err := setText(field.value, text); err != nil {
		l.fault(path, "%s", l.tell(field, err))
	}
}

func (l *loader) applyEnviron(environ []string) {
	names := make(map[string]string, len(l.fields))
	known := make([]string, 0, len(l.fields))
	for _, f := range l.fields {
		names[f.EnvName()] = f.Path
		known = append(known, strings.ToLower(f.EnvName()))
	}
	for _, pair := range environ {
		name, text, _ := strings.Cut(pair, "=")
		if !strings.HasPrefix(name, "RTCD_") {
			continue
		}
		if path, ok := names[name]; ok {
			l.applyText(name, path, text)
		} else if hint := suggest(name, known); hint != "" {
			l.Warnings = append(l.Warnings, "environment: "+name+" is no key of ours"+hint)
		}
	}
}

// tell is the message of err, without the value where that is a secret.
func (l *loader) tell(f Field, err error) string {
	if f.Secret {
		return "not a valid value"
	}
	return err.Error()
}
