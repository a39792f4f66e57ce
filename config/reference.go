package config

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"strings"

	"github.com/invopop/jsonschema"
)

//go:embed reference.zh.json
var referenceZH []byte

// words that a reference in some language needs beside the keys' own.
type wording struct {
	title, about, general             string
	key, standard, values, meaning    string
	restart, secret, list, text, like string
	empty                             string
	doc                               map[string]string // by path; else the English one
}

// ReferenceLanguages are those that [Reference] knows.
var ReferenceLanguages = []string{"en", "zh"}

func wordingOf(language string) (wording, error) {
	switch language {
	case "en":
		return wording{
			title: "Configuration reference",
			about: "Every key is optional. The file is YAML (`rtcd init` writes one with comments); relative paths in it are relative to it. " +
				"Flags win over the environment, the environment over the file, the file over the defaults: `--set turn.realm=…`, " +
				"`RTCD_TURN_REALM`, `realm` below `turn`. In lists given by flag or environment, commas separate. " +
				"0 means unlimited and \"\" means off unless a key says otherwise. `rtcd config show` tells what holds and where it came from.\n\n" +
				"`rtcd reload` takes changes up while rtcd runs, but for the keys marked ↻, which need a restart.",
			general: "General", key: "Key", standard: "Default", values: "Values", meaning: "Meaning",
			restart: "↻", secret: "secret", list: "list: ", text: "text", like: "like ", empty: "—",
		}, nil
	case "zh":
		w := wording{
			title: "配置参考",
			about: "所有键都可省略。配置文件为 YAML（`rtcd init` 会写出一份带注释的），其中的相对路径以该文件所在目录为准。" +
				"优先级：命令行高于环境变量，环境变量高于文件，文件高于默认值；例如 `--set turn.realm=…`、`RTCD_TURN_REALM`、`turn` 下的 `realm`。" +
				"在命令行和环境变量里，列表用逗号分隔。除另有说明外，0 表示不限，\"\" 表示关闭。`rtcd config show` 显示当前生效的值及其来源。\n\n" +
				"`rtcd reload` 可在运行中应用修改；标有 ↻ 的键需要重启。",
			general: "总体", key: "键", standard: "默认值", values: "取值", meaning: "含义",
			restart: "↻", secret: "密钥", list: "列表：", text: "文本", like: "如 ", empty: "—",
		}
		return w, json.Unmarshal(referenceZH, &w.doc)
	}
	return wording{}, fmt.Errorf("no reference in %q: want one of %s", language, strings.Join(ReferenceLanguages, ", "))
}

// Reference writes what every key means, as Markdown: made from the same tags as the
// schema and the code, so that it cannot be behind them.
func Reference(out io.Writer, language string) error {
	w, err := wordingOf(language)
	if err != nil {
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n%s\n", w.title, w.about)
	c := Default()
	w.section(&b, "", w.general, "", true, reflect.ValueOf(&c).Elem())
	_, err = io.WriteString(out, b.String())
	return err
}

// section writes the values of a struct as a table, and then the structs in it.
func (w wording) section(b *strings.Builder, path, heading, about string, live bool, v reflect.Value) {
	fmt.Fprintf(b, "\n%s %s\n", strings.Repeat("#", 2+strings.Count(path, ".")), heading)
	if about != "" {
		fmt.Fprintf(b, "\n%s\n", about)
	}
	rows := 0
	for i := range v.NumField() {
		field := v.Type().Field(i)
		if isSection(field.Type) {
			continue
		}
		if rows++; rows == 1 {
			fmt.Fprintf(b, "\n| %s | %s | %s | %s |\n|---|---|---|---|\n", w.key, w.standard, w.values, w.meaning)
		}
		w.row(b, join(path, field.Tag.Get("yaml")), live, field, v.Field(i))
	}
	for i := range v.NumField() {
		if field := v.Type().Field(i); isSection(field.Type) {
			below := join(path, field.Tag.Get("yaml"))
			w.section(b, below, "`"+below+"`", w.docOf(below, field), live && field.Tag.Get("reload") != "restart", v.Field(i))
		}
	}
}

func (w wording) row(b *strings.Builder, path string, live bool, field reflect.StructField, v reflect.Value) {
	standard := w.empty
	if text := textOf(v); text != "" {
		standard = "`" + text + "`"
	}
	mark := ""
	if !live || field.Tag.Get("reload") == "restart" {
		mark = " " + w.restart
	}
	values := w.valuesOf(field.Type)
	if field.Tag.Get("secret") == "true" {
		values = w.list + w.secret
	}
	fmt.Fprintf(b, "| `%s`%s | %s | %s | %s |\n", path, mark, cell(standard), cell(values), cell(w.docOf(path, field)))
}

func (w wording) docOf(path string, field reflect.StructField) string {
	if text, ok := w.doc[path]; ok {
		return text
	}
	return field.Tag.Get("jsonschema_description")
}

// cell is text that does not end a cell of a table.
func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }

// valuesOf shows by words or an example what may be written.
func (w wording) valuesOf(t reflect.Type) string {
	zero := reflect.New(t).Elem()
	if t.Kind() == reflect.Slice {
		return w.list + w.valuesOf(t.Elem())
	}
	if e, ok := zero.Interface().(enum); ok {
		return "`" + strings.Join(e.words(), "` | `") + "`"
	}
	if t.Kind() == reflect.Bool {
		return "`true` | `false`"
	}
	if described, ok := zero.Interface().(interface{ JSONSchema() *jsonschema.Schema }); ok {
		if example := exampleOf(described.JSONSchema()); example != "" {
			return w.like + "`" + example + "`"
		}
	}
	return w.text
}

// exampleOf is the first example in a schema, "" if it has none.
func exampleOf(s *jsonschema.Schema) string {
	if s == nil {
		return ""
	}
	for _, e := range s.Examples {
		return fmt.Sprint(e)
	}
	for _, either := range s.AnyOf {
		if e := exampleOf(either); e != "" {
			return e
		}
	}
	return ""
}
