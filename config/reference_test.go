package config

import (
	"encoding/json"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func reference(t *testing.T, language string) string {
	t.Helper()
	var b strings.Builder
	if err := Reference(&b, language); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// Every key has a row with its default, in each language.
func TestTheReferenceHasEveryKey(t *testing.T) {
	c := Default()
	for _, language := range ReferenceLanguages {
		text := reference(t, language)
		for _, f := range Fields(&c) {
			mark := ""
			if !f.Live {
				mark = " ↻"
			}
			standard := "—"
			if f.Text() != "" {
				standard = "`" + strings.ReplaceAll(f.Text(), "|", `\|`) + "`"
			}
			if want := "| `" + f.Path + "`" + mark + " | " + standard + " | "; !strings.Contains(text, want) {
				t.Errorf("%s: no row %s", language, want)
			}
		}
		columns := regexp.MustCompile(`[^\\]\|`)
		for line := range strings.Lines(text) {
			if strings.HasPrefix(line, "|") && len(columns.FindAllString(line, -1)) != 4 {
				t.Errorf("%s: not four columns: %s", language, line)
			}
		}
	}
	if en := reference(t, "en"); !strings.Contains(en, "| `tls.mode` ↻ | `auto` | `auto` \\| `acme` \\| `files` \\| `self-signed` \\| `off` |") ||
		!strings.Contains(en, "\n### `turn.limits`\n\nBounds of the relay") ||
		!strings.Contains(en, "| `turn.secrets` | — | list: secret | ") {
		t.Errorf("not as it should be:\n%s", en)
	}
}

// What is translated is a key, or a section, that there is. A key without a translation
// shows in English.
func TestTranslationsAreOfKeysThatThereAre(t *testing.T) {
	var zh map[string]string
	if err := json.Unmarshal(referenceZH, &zh); err != nil {
		t.Fatal(err)
	}
	var paths []string
	var walk func(prefix string, t reflect.Type)
	walk = func(prefix string, t reflect.Type) {
		for i := range t.NumField() {
			path := join(prefix, t.Field(i).Tag.Get("yaml"))
			paths = append(paths, path)
			if isSection(t.Field(i).Type) {
				walk(path, t.Field(i).Type)
			}
		}
	}
	walk("", reflect.TypeFor[Config]())
	for path, text := range zh {
		if !slices.Contains(paths, path) {
			t.Errorf("%s is no key", path)
		}
		if !strings.ContainsFunc(text, func(r rune) bool { return r > 0x2e80 }) {
			t.Errorf("%s is not translated: %s", path, text)
		}
	}
	for _, path := range paths {
		if _, ok := zh[path]; !ok {
			t.Logf("%s has no translation", path)
		}
	}
}

func TestNoReferenceInOtherLanguages(t *testing.T) {
	if err := Reference(&strings.Builder{}, "fr"); err == nil || !strings.Contains(err.Error(), "en, zh") {
		t.Error(err)
	}
}
