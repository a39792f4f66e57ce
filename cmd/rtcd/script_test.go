package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"rtcd": main})
}

// TestScripts runs the whole binary as people do. Beside testscript's commands:
//
//	exits CODE PROGRAM ARG...       run and want an exit code
//	await FILE REGEXP [VAR]         wait until a file matches; VAR gets the first group
//	fetch STATUS URL [HEADER...]    GET (with data=… POST) and want a status; the body is stdout
//	free VAR                        find a port that nothing has
//	occupy tcp|udp VAR              hold a port until the script ends
//	hold tcp|udp PORT               the same for this port, or leave it to whom keeps it
//	perm FILE MODE                  want a file's permissions
//	certs DIR                       make certificates of an authority, good and bad ones
//
// The condition netns holds where network namespaces can be made.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			e.Setenv("XDG_STATE_HOME", e.WorkDir+"/state")
			e.Setenv("STATE_DIRECTORY", "")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": cmdExits, "await": cmdAwait, "fetch": cmdFetch, "occupy": cmdOccupy, "hold": cmdHold, "free": cmdFree, "perm": cmdPerm,
			"certs": cmdCerts,
		},
		Condition: func(name string) (bool, error) {
			if name == "netns" {
				return exec.Command("unshare", "--net", "true").Run() == nil, nil
			}
			return false, fmt.Errorf("unknown condition %q", name)
		},
		UpdateScripts: os.Getenv("UPDATE_SCRIPTS") != "",
	})
}

func cmdExits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	code := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		code = exit.ExitCode()
	}
	if code != want {
		ts.Fatalf("exit code %d, want %d", code, want)
	}
}

func cmdAwait(ts *testscript.TestScript, _ bool, args []string) {
	re := regexp.MustCompile(args[1])
	deadline := time.Now().Add(30 * time.Second)
	for {
		data, _ := os.ReadFile(ts.MkAbs(args[0]))
		if m := re.FindSubmatch(data); m != nil {
			if len(args) > 2 {
				ts.Setenv(args[2], string(m[1]))
			}
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s does not match %s:\n%s", args[0], args[1], data)
		}
		time.Sleep(20 * time.Millisecond) // between two looks; the deadline decides
	}
}

func cmdFetch(ts *testscript.TestScript, _ bool, args []string) {
	r, err := http.NewRequest(http.MethodGet, args[1], nil)
	ts.Check(err)
	for _, h := range args[2:] {
		if form, ok := strings.CutPrefix(h, "data="); ok {
			r.Method, r.Body = http.MethodPost, io.NopCloser(strings.NewReader(form))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			continue
		}
		name, value, _ := strings.Cut(h, ": ")
		if name == "Host" {
			r.Host = value
		}
		r.Header.Set(name, value)
	}
	client := http.Client{
		Timeout:       20 * time.Second,
		Transport:     &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	answer, err := client.Do(r)
	ts.Check(err)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	ts.Check(err)
	fmt.Fprintf(ts.Stdout(), "%s\n", body)
	for _, name := range []string{"Location", "Access-Control-Allow-Origin", "WWW-Authenticate"} {
		if v := answer.Header.Get(name); v != "" {
			fmt.Fprintf(ts.Stdout(), "%s: %s\n", name, v)
		}
	}
	if want, err := strconv.Atoi(args[0]); err != nil || answer.StatusCode != want {
		ts.Fatalf("status %d, want %s: %s", answer.StatusCode, args[0], body)
	}
}

func cmdOccupy(ts *testscript.TestScript, _ bool, args []string) {
	var addr net.Addr
	if args[0] == "udp" {
		c, err := net.ListenPacket("udp4", "127.0.0.1:0")
		ts.Check(err)
		ts.Defer(func() { c.Close() })
		addr = c.LocalAddr()
	} else {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		ts.Check(err)
		ts.Defer(func() { l.Close() })
		addr = l.Addr()
	}
	_, port, err := net.SplitHostPort(addr.String())
	ts.Check(err)
	ts.Setenv(args[1], port)
}

// cmdHold takes the port over from another script's server when that ends. One that keeps it is
// nobody's of this test, and holds it as well.
func cmdHold(ts *testscript.TestScript, _ bool, args []string) {
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		var held io.Closer
		var err error
		if args[0] == "udp" {
			held, err = net.ListenPacket("udp", ":"+args[1])
		} else {
			held, err = net.Listen("tcp", ":"+args[1])
		}
		if err == nil {
			ts.Defer(func() { held.Close() })
			return
		}
		if !isTaken(err) {
			ts.Fatalf("%v", err)
		}
	}
}

func cmdFree(ts *testscript.TestScript, _ bool, args []string) {
	found := map[int]bool{}
	for _, name := range args {
		port, err := findPort()
		for err == nil && found[port] {
			port, err = findPort()
		}
		ts.Check(err)
		found[port] = true
		ts.Setenv(name, strconv.Itoa(port))
	}
}

func cmdPerm(ts *testscript.TestScript, _ bool, args []string) {
	info, err := os.Stat(ts.MkAbs(args[0]))
	ts.Check(err)
	if got := fmt.Sprintf("%04o", info.Mode().Perm()); got != args[1] {
		ts.Fatalf("%s has mode %s, want %s", args[0], got, args[1])
	}
}
