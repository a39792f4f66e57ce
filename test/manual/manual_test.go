package manual

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"rtcd/test/lab"
)

// docs is the folder of the pages, source that of the module.
const (
	source = "../.."
	docs   = source + "/docs"
)

// kit is what every world begins with.
var kit struct {
	program           string // rtcd
	cert, key, ca     string // of rtc.example.com, and who signed it
	sourceDir, worlds string
}

func TestMain(m *testing.M) {
	lab.Main(func(dir string) (int, error) { return runAll(m, dir) })
}

func runAll(m *testing.M, dir string) (code int, err error) {
	for _, tool := range []string{"unshare", "ip", "pgrep", "curl", "jq", "openssl", "node"} {
		if _, err := exec.LookPath(tool); err != nil {
			return 1, fmt.Errorf("%s is missing; test/setup.sh installs it", tool)
		}
	}
	if os.Getuid() != 0 {
		return 1, errors.New("the documentation is run in namespaces, which needs root")
	}
	if kit.program, err = lab.Build(source, dir); err != nil {
		return 1, err
	}
	ca, err := lab.NewCA(dir)
	if err != nil {
		return 1, err
	}
	if kit.cert, kit.key, err = ca.Issue([]string{"rtc.example.com"}); err != nil {
		return 1, err
	}
	kit.ca = ca.File
	if kit.sourceDir, err = filepath.Abs(source); err != nil {
		return 1, err
	}
	kit.worlds, err = filepath.Abs("world")
	if err != nil {
		return 1, err
	}
	return m.Run(), nil
}

// pages returns the pages of a folder by name.
func pages(t *testing.T, dir string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "*.md"))
	if err != nil || len(found) == 0 {
		t.Fatalf("no pages in %s: %v", dir, err)
	}
	for i, path := range found {
		found[i] = filepath.Base(path)
	}
	slices.Sort(found)
	return found
}

// TestCommands runs the commands of every page.
func TestCommands(t *testing.T) {
	for _, page := range pages(t, docs) {
		t.Run(page, func(t *testing.T) {
			t.Parallel()
			all, err := blocks(filepath.Join(docs, page))
			if err != nil {
				t.Fatal(err)
			}
			var script strings.Builder
			script.WriteString(prelude)
			if page == "install.md" {
				script.WriteString("certificate\n")
			} else {
				script.WriteString("installed\n")
			}
			n := 0
			for _, b := range all {
				if b.language == "sh" {
					fmt.Fprintf(&script, "begin %s:%d\n%s\n", page, b.line, b.text)
					n++
				}
			}
			if n == 0 {
				t.Skip("a page without commands")
			}
			run(t, script.String())
		})
	}
}

// prelude defines what begins each script.
const prelude = `
set -euo pipefail
export HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/go/bin GOFLAGS=-buildvcs=false
cd /root
trap 'code=$?; [ $code = 0 ] || { echo "$at: exit status $code at: $BASH_COMMAND"; tail -n 15 /var/log/rtcd.journal 2>/dev/null; }' EXIT
begin() { at=$1; echo; echo "--- $at"; }
at=installation
installed() {
  cp /kit/rtcd /usr/bin/rtcd
  rtcd init --domain rtc.example.com >/dev/null
  certificate
  sed -i 's|cert_file: ""|cert_file: /etc/letsencrypt/live/rtc.example.com/fullchain.pem|; s| key_file: ""| key_file: /etc/letsencrypt/live/rtc.example.com/privkey.pem|' /etc/rtcd/config.yaml
  systemctl start rtcd
}
certificate() { # as certbot would have put it there; no authority that rtcd could ask is in this world
  mkdir -p /etc/letsencrypt/live/rtc.example.com
  cp /kit/cert.pem /etc/letsencrypt/live/rtc.example.com/fullchain.pem
  cp /kit/key.pem /etc/letsencrypt/live/rtc.example.com/privkey.pem
}
`

// run runs a script in a world of its own.
func run(t *testing.T, script string) {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "page")
	world := filepath.Join(dir, "world")
	if err := errors.Join(os.WriteFile(file, []byte(script), 0o755), os.Mkdir(world, 0o755)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "unshare", "--mount", "--net", "--pid", "--uts", "--ipc", "--fork", "--kill-child",
		filepath.Join(kit.worlds, "enter"), world, file)
	cmd.Env = append(os.Environ(), "KIT_PROGRAM="+kit.program, "KIT_CERT="+kit.cert, "KIT_KEY="+kit.key, "KIT_CA="+kit.ca,
		"KIT_SOURCE="+kit.sourceDir, "KIT_WORLD="+kit.worlds)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}

// TestConfiguration: rtcd accepts every block of configuration as it stands.
func TestConfiguration(t *testing.T) {
	for _, page := range pages(t, docs) {
		all, err := blocks(filepath.Join(docs, page))
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range all {
			if b.language != "yaml" {
				continue
			}
			file := filepath.Join(t.TempDir(), "config.yaml")
			if err := os.WriteFile(file, []byte(b.text), 0o600); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command(kit.program, "config", "show", "--config", file).CombinedOutput(); err != nil {
				t.Errorf("%s:%d: %v\n%s", page, b.line, err, out)
			}
		}
	}
}

// TestScripts: node takes every block of JavaScript as a module.
func TestScripts(t *testing.T) {
	for _, page := range pages(t, docs) {
		all, err := blocks(filepath.Join(docs, page))
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range all {
			if b.language != "js" {
				continue
			}
			cmd := exec.Command("node", "--input-type=module", "--check")
			cmd.Stdin = strings.NewReader(b.text)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%s:%d: %v\n%s", page, b.line, err, out)
			}
		}
	}
}

// TestReference: the pages of the configuration are what `rtcd config doc` prints.
func TestReference(t *testing.T) {
	for lang, page := range map[string]string{"en": docs + "/configure.md", "zh": docs + "/zh/configure.md"} {
		want, err := exec.Command(kit.program, "config", "doc", "--lang", lang).Output()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(page); err != nil || string(got) != string(want) {
			t.Errorf("%s is not what the code says (%v): rtcd config doc --lang %s >%s", page, err, lang, strings.TrimPrefix(page, source+"/"))
		}
	}
}

// untranslated are records, not pages for users: what tests or measurements show.
var untranslated = []string{"threats.md"}

// TestLanguages: the Chinese pages are those of the English ones, with the same blocks.
func TestLanguages(t *testing.T) {
	english, chinese := pages(t, docs), pages(t, docs+"/zh")
	english = slices.DeleteFunc(english, func(page string) bool { return slices.Contains(untranslated, page) })
	if !slices.Equal(english, chinese) {
		t.Fatalf("docs has %v, docs/zh %v", english, chinese)
	}
	for _, page := range english {
		en, err1 := blocks(filepath.Join(docs, page))
		zh, err2 := blocks(filepath.Join(docs, "zh", page))
		if err := errors.Join(err1, err2); err != nil {
			t.Error(err)
			continue
		}
		same := func(a, b block) bool {
			return a.language == b.language && (a.language == "text" || a.code() == b.code())
		}
		if !slices.EqualFunc(en, zh, same) {
			t.Errorf("%s: the blocks of the two languages differ", page)
		}
	}
}
