package rawjson

import (
	"strings"
	"testing"
)

func TestObject(t *testing.T) {
	for b, want := range map[string]bool{
		`{}`: true, `{"a":1}`: true, `null`: false, `[]`: false, `7`: false, ``: false, `{`: false, "{\"\xff\":1}": false,
	} {
		if _, ok := Object([]byte(b)); ok != want {
			t.Errorf("%q: %v", b, ok)
		}
	}
	fields, _ := Object([]byte(`{"Type":1,"type": [2] }`))
	if string(fields["Type"]) != "1" || string(fields["type"]) != "[2]" {
		t.Errorf("fields: %q", fields)
	}
}

func TestTextThereAndBack(t *testing.T) {
	for _, s := range []string{"", "a", `"`, "\u2028", "ü<>&", "\x00"} {
		if got, ok := Text(AppendText(nil, s)); !ok || got != s {
			t.Errorf("%q comes back as %q %v", s, got, ok)
		}
	}
	for _, v := range []string{"", "null", "7", "{}", `["a"]`} {
		if s, ok := Text([]byte(v)); ok {
			t.Errorf("%s is %q", v, s)
		}
	}
}

func TestIsName(t *testing.T) {
	for s, want := range map[string]bool{
		"a": true, "toString": true, "Ö 7": true, strings.Repeat("x", 128): true,
		"": false, strings.Repeat("x", 129): false, "a\n": false, "\u0085": false, "\xff": false, "\x7f": false,
	} {
		if IsName(s) != want {
			t.Errorf("%q: %v", s, !want)
		}
	}
}
