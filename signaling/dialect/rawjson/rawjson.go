// Package rawjson reads and writes single values of JSON that otherwise is passed on as
// it came.
package rawjson

import (
	"encoding/json"
	"strings"
	"unicode/utf8"
)

// Object takes an object apart. It tells upper from lower case, as JavaScript does.
func Object(b []byte) (fields map[string]json.RawMessage, ok bool) {
	if !utf8.Valid(b) || json.Unmarshal(b, &fields) != nil {
		return nil, false
	}
	return fields, fields != nil
}

// Text is a string; ok is false for all else.
func Text(v json.RawMessage) (s string, ok bool) {
	if len(v) == 0 || v[0] != '"' {
		return "", false
	}
	return s, json.Unmarshal(v, &s) == nil
}

// AppendText appends s as a string.
func AppendText(b []byte, s string) []byte {
	quoted, err := json.Marshal(s) // cannot fail: what is not UTF-8 is replaced
	if err != nil {
		return append(b, `""`...)
	}
	return append(b, quoted...)
}

// IsName says whether the hub takes s as a name: 1–128 bytes without control
// characters. What was not UTF-8 is none either.
func IsName(s string) bool {
	return s != "" && len(s) <= 128 && !strings.ContainsFunc(s, func(r rune) bool {
		return r < 0x20 || r >= 0x7f && r < 0xa0 || r == utf8.RuneError
	})
}
