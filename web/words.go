package web

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Words are those of the pages in one language, en or zh, by their keys: a command says
// the same as a page in the same words.
type Words map[string]string

// LoadWords returns the words of a language.
func LoadWords(language string) (Words, error) {
	text, err := embedded.ReadFile("static/i18n/" + language + ".json")
	if err != nil {
		return nil, fmt.Errorf("no words in %q", language)
	}
	var w Words
	return w, json.Unmarshal(text, &w)
}

// Say is the text of a key with the values in their {places}; "" if there is none.
func (w Words) Say(key string, values map[string]string) string {
	list := make([]string, 0, 2*len(values))
	for name, value := range values {
		list = append(list, "{"+name+"}", value)
	}
	return strings.NewReplacer(list...).Replace(w[key])
}
