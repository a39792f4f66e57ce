package config

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Field is one key that holds a value.
type Field struct {
	Path   string // turn.limits.channels
	Doc    string
	Secret bool
	Live   bool          // a running process takes a new value
	value  reflect.Value // addressable
}

// EnvName is the environment variable of a key: RTCD_TURN_LIMITS_CHANNELS.
func (f Field) EnvName() string { return EnvName(f.Path) }

// EnvName is the environment variable of the key at path.
func EnvName(path string) string {
	return "RTCD_" + strings.ToUpper(strings.ReplaceAll(path, ".", "_"))
}

// Text is the value as one would write it in the environment: lists with commas.
func (f Field) Text() string { return textOf(f.value) }

// Fields lists every key of c in the order of the file. The Fields point into c.
func Fields(c *Config) []Field {
	var list []Field
	collect(&list, "", true, reflect.ValueOf(c).Elem())
	return list
}

func collect(list *[]Field, prefix string, live bool, v reflect.Value) {
	for i := range v.NumField() {
		tag := v.Type().Field(i).Tag
		path := join(prefix, tag.Get("yaml"))
		live := live && tag.Get("reload") != "restart"
		if isSection(v.Field(i).Type()) {
			collect(list, path, live, v.Field(i))
			continue
		}
		*list = append(*list, Field{
			Path: path, Doc: tag.Get("jsonschema_description"),
			Secret: tag.Get("secret") == "true", Live: live, value: v.Field(i),
		})
	}
}

// isSection tells a mapping of keys from a value that happens to be a struct.
func isSection(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && !reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

func join(prefix, key string) string {
	if prefix == "" {
		return key
	}
	return prefix + "." + key
}

// setText sets the scalar or list v from text; a list's elements are separated
// by commas.
func setText(v reflect.Value, text string) error {
	if v.Kind() != reflect.Slice {
		return setScalar(v, text)
	}
	list := reflect.MakeSlice(v.Type(), 0, 1)
	if text != "" {
		for part := range strings.SplitSeq(text, ",") {
			item := reflect.New(v.Type().Elem()).Elem()
			if err := setScalar(item, strings.TrimSpace(part)); err != nil {
				return err
			}
			list = reflect.Append(list, item)
		}
	}
	v.Set(list)
	return nil
}

func setScalar(v reflect.Value, text string) error {
	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return u.UnmarshalText([]byte(text))
	}
	if e, ok := v.Interface().(enum); ok {
		if words := e.words(); !slices.Contains(words, text) {
			return fmt.Errorf("%q is not one of %s%s", text, strings.Join(words, ", "), suggest(text, words))
		}
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return fmt.Errorf("%q is not true or false", text)
		}
		v.SetBool(b)
	default:
		panic("config: a key of kind " + v.Kind().String())
	}
	return nil
}

func textOf(v reflect.Value) string {
	if v.Kind() != reflect.Slice {
		return fmt.Sprint(v.Interface())
	}
	parts := make([]string, v.Len())
	for i := range parts {
		parts[i] = fmt.Sprint(v.Index(i).Interface())
	}
	return strings.Join(parts, ",")
}

// Suggest returns `; did you mean "x"?` for the nearest word, if one is near.
func Suggest(word string, words []string) string { return suggest(word, words) }

func suggest(word string, words []string) string {
	best, bestDistance := "", 3
	if len(word) < 4 {
		bestDistance = 2
	}
	for _, w := range words {
		if d := distance(strings.ToLower(word), w); d < bestDistance {
			best, bestDistance = w, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", best)
}

// distance is the number of letters to insert, delete, replace or swap with
// their neighbour in order to turn a into b (optimal string alignment).
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return len(a) + len(b)
	}
	before, row := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		next := make([]int, len(b)+1)
		next[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			next[j] = min(row[j]+1, next[j-1]+1, row[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				next[j] = min(next[j], before[j-2]+1)
			}
		}
		before, row = row, next
	}
	return row[len(b)]
}
