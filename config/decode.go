package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// applyFile decodes the file into the configuration, key by key, so that each
// fault has its place and one does not hide the others.
func (l *loader) applyFile() {
	if len(l.data) == 0 {
		return
	}
	whole := Provenance{Source: l.File}
	if len(l.data) > maxFile {
		l.faultAt(whole, "", fmt.Sprintf("%d bytes long, at most %d are read", len(l.data), maxFile))
		return
	}
	l.lines = strings.Split(strings.ReplaceAll(string(l.data), "\r\n", "\n"), "\n")
	dec := yaml.NewDecoder(bytes.NewReader(l.data))
	var doc, more yaml.Node
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
		return
	} else if err != nil {
		l.syntaxFault(err)
		return
	}
	if err := dec.Decode(&more); !errors.Is(err, io.EOF) {
		if err != nil {
			l.syntaxFault(err)
		} else {
			l.faultAt(l.at(&more), "", "a second document; only one is read")
		}
		return
	}
	l.section("", doc.Content[0], reflect.ValueOf(&l.Config).Elem())
}

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)$`)

// syntaxFault translates "yaml: line 4: did not find expected key".
func (l *loader) syntaxFault(err error) {
	at := Provenance{Source: l.File}
	message := err.Error()
	if m := yamlLine.FindStringSubmatch(message); m != nil {
		at.Line, _ = strconv.Atoi(m[1])
		message = m[2]
	}
	l.faultAt(at, "", "not YAML: "+message)
}

func (l *loader) at(n *yaml.Node) Provenance {
	return Provenance{Source: l.File, Line: n.Line, Column: n.Column, width: len(n.Value)}
}

// section decodes a mapping into the struct v.
func (l *loader) section(path string, n *yaml.Node, v reflect.Value) {
	at := l.at(n)
	n = resolve(n)
	if isNull(n) { // "turn:" with every key below it commented out
		return
	}
	if n.Kind != yaml.MappingNode {
		l.faultAt(at, path, fmt.Sprintf("want keys and values, got %s", describe(n)))
		return
	}
	first := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		name := resolve(key).Value
		if line, ok := first[name]; ok {
			l.faultAt(l.at(key), join(path, name), fmt.Sprintf("written twice, first on line %d", line))
			continue
		}
		first[name] = key.Line
		l.key(path, key, value, v)
	}
}

// key decodes one key of a mapping.
func (l *loader) key(prefix string, key, value *yaml.Node, v reflect.Value) {
	name := resolve(key).Value
	path := join(prefix, name)
	for i := range v.NumField() {
		tag := v.Type().Field(i).Tag.Get("yaml")
		if tag != name {
			continue
		}
		if field := v.Field(i); isSection(field.Type()) {
			l.section(path, value, field)
		} else {
			l.value(path, value, field)
		}
		return
	}
	l.faultAt(l.at(key), path, "unknown key"+l.hint(prefix, name, v.Type()))
}

// hint names the key that was probably meant, here or in another section.
func (l *loader) hint(prefix, name string, t reflect.Type) string {
	var here []string
	for i := range t.NumField() {
		here = append(here, t.Field(i).Tag.Get("yaml"))
	}
	if s := suggest(name, here); s != "" {
		return s
	}
	for _, f := range l.fields {
		if i := strings.LastIndex(f.Path, "."); i >= 0 && f.Path[i+1:] == name {
			return fmt.Sprintf("; %q belongs under %q", name, f.Path[:i])
		}
	}
	if prefix == "" {
		return ""
	}
	return fmt.Sprintf("; %q has: %s", prefix, strings.Join(here, ", "))
}

// value decodes a scalar or a list into v. A list may be written as a scalar.
func (l *loader) value(path string, n *yaml.Node, v reflect.Value) {
	l.From[path] = l.at(n)
	n = resolve(n)
	field, ok := l.field(path)
	if !ok { // below a name of the user's
		field.Path = path
	}
	if v.Kind() != reflect.Slice {
		l.scalar(field, n, v)
		return
	}
	if n.Kind == yaml.MappingNode && reflect.PointerTo(v.Type().Elem()).Implements(reflect.TypeFor[named]()) {
		l.names(path, n, v)
		return
	}
	items := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		items = n.Content
	} else if n.Kind == yaml.ScalarNode && n.Tag == "!!str" && n.Value == "" {
		items = nil
	}
	list := reflect.MakeSlice(v.Type(), 0, len(items))
	for _, item := range items {
		element := reflect.New(v.Type().Elem()).Elem()
		l.From[path] = l.at(item)
		l.scalar(field, resolve(item), element)
		list = reflect.Append(list, element)
	}
	l.From[path] = l.at(n)
	v.Set(list)
}

// named is an element of a list that may also be written as a mapping of names.
type named interface {
	// setName makes the element that of the name, and returns a pointer to the struct
	// of its keys.
	setName(name string) (keys any, err error)
}

// names decodes a mapping of names into the list v, whose elements are named.
func (l *loader) names(path string, n *yaml.Node, v reflect.Value) {
	list := reflect.MakeSlice(v.Type(), 0, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := resolve(n.Content[i]), n.Content[i+1]
		element := reflect.New(v.Type().Elem())
		keys, err := element.Interface().(named).setName(key.Value)
		if err != nil {
			l.faultAt(l.at(n.Content[i]), path, err.Error())
			continue
		}
		l.section(join(path, key.Value), value, reflect.ValueOf(keys).Elem())
		list = reflect.Append(list, element.Elem())
	}
	v.Set(list)
}

func (l *loader) scalar(field Field, n *yaml.Node, v reflect.Value) {
	if field.Secret {
		l.secretLines[n.Line] = true
	}
	switch {
	case isNull(n):
		l.fault(field.Path, `no value; write "" to turn it off, or leave the key out`)
	case n.Kind != yaml.ScalarNode:
		l.fault(field.Path, "want one value, got %s", describe(n))
	case v.Kind() == reflect.Bool && n.Tag != "!!bool":
		l.fault(field.Path, "%s is not true or false", l.quote(field, n))
	case v.Type() == reflect.TypeFor[string]() && n.Tag != "!!str":
		l.fault(field.Path, "want text, got %s; put quotes around it", describe(n))
	default:
		if err := setScalar(v, n.Value); err != nil {
			l.fault(field.Path, "%s", l.tell(field, err))
		}
	}
}

func (l *loader) quote(f Field, n *yaml.Node) string {
	if f.Secret {
		return "the value"
	}
	return strconv.Quote(n.Value)
}

// resolve follows an alias. The alias of an alias cannot be written, and one that
// contains itself ends at the depth of Config.
func resolve(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

func describe(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "keys and values"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Tag == "!!int" || n.Tag == "!!float":
		return "a number"
	case n.Tag == "!!bool":
		return "true or false"
	case n.Tag == "!!timestamp":
		return "a date"
	}
	return "text"
}
