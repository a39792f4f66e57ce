package rawjson

import (
	"encoding/json"
	"testing"
	"unicode/utf8"
)

// FuzzObject: the values of an object are valid JSON, and a text that is read can be
// written and read again.
func FuzzObject(f *testing.F) {
	for _, s := range []string{`{"a":"b","A":{"c":[1,null]}}`, `{"a":"\ud800"}`, `{"a":1,"a":2}`, `[]`, "{\"\xff\":\"\xff\"}", `{"a":"\u2028"}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		fields, ok := Object(b)
		if !ok {
			return
		}
		for k, v := range fields {
			if !json.Valid(v) || !utf8.ValidString(k) {
				t.Fatalf("%q: %q", k, v)
			}
			s, isText := Text(v)
			if isText != (v[0] == '"') {
				t.Fatalf("%s is a text: %v", v, isText)
			}
			if again, ok := Text(AppendText(nil, s)); !ok || again != s {
				t.Fatalf("%q became %q", s, again)
			}
			if IsName(s) && (len(s) > 128 || !utf8.ValidString(s)) {
				t.Fatalf("%q is a name", s)
			}
		}
	})
}
