package apps

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// typescript is what checks the types that the SDK's comments give.
const typescript = "typescript@5.9.3"

// The SDK's types hold, and what `npm pack` makes of it is installed and used by a program of somebody else's: in Node
// as it is, and by the type checker.
func TestSDKIsAPackage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	sdk := filepath.Join(dir, "sdk")
	if err := os.CopyFS(sdk, os.DirFS("../../web/static/sdk")); err != nil {
		t.Fatal(err)
	}
	tools := filepath.Join(dir, "tools")
	run(t, dir, "npm", "install", "--no-audit", "--no-fund", "--prefix", tools, typescript)
	t.Log("tsc", run(t, sdk, filepath.Join(tools, "node_modules/.bin/tsc"), "--version"))
	path := "PATH=" + filepath.Join(tools, "node_modules/.bin") + ":" + os.Getenv("PATH")
	run(t, sdk, "env", path, "npm", "run", "check")
	out := run(t, sdk, "env", path, "npm", "pack", "--silent", "--pack-destination", dir)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	tarball := filepath.Join(dir, lines[len(lines)-1])

	user := filepath.Join(dir, "user")
	for name, text := range map[string]string{
		"package.json": `{"name": "user", "private": true, "type": "module"}`,
		"use.js": `import {Hub, Links, Transfers, readToken, RtcdError, PROTOCOL} from 'rtcd';
import 'rtcd/check';
const hub = new Hub({url: 'ws://127.0.0.1:1/ws'});
if (PROTOCOL !== 'rtcd.v1' || hub.state !== 'idle' || readToken('x') !== null || !(new RtcdError('a') instanceof Error)) process.exit(1);
console.log(typeof Links, typeof Transfers);
`,
		"right.ts": `import {connect, Call, Links, connectionInfo, type Hub} from 'rtcd';
const hub: Hub = await connect({url: 'wss://rtc.example.com/ws', token: 't', room: 'r'});
const call = new Call(hub, 'r', {media: false});
const links = new Links(hub, 'r', {call});
const {sent}: {sent: number} = await links.broadcast({any: 'json'});
for (const peer of call.peers.values()) { const {via} = await connectionInfo(peer.pc); const known: 'udp' | 'tcp' | 'tls' | null = via; void known; }
void sent;
`,
		"wrong.ts": `import {connect} from 'rtcd';
await connect({room: 7});
`,
	} {
		if err := os.MkdirAll(user, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(user, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run(t, user, "npm", "install", "--no-audit", "--no-fund", "--offline", tarball)
	if out := run(t, user, "node", "use.js"); strings.TrimSpace(out) != "function function" {
		t.Errorf("a program that uses the package prints %q", out)
	}
	tsc := []string{
		filepath.Join(tools, "node_modules/.bin/tsc"), "--noEmit", "--strict", "--target", "es2023", "--module", "esnext",
		"--moduleResolution", "bundler", "--lib", "es2023,dom,dom.iterable",
	}
	run(t, user, "env", append(tsc, "right.ts")...)
	wrong := exec.CommandContext(patient(t), tsc[0], append(tsc[1:], "wrong.ts")...)
	wrong.Dir = user
	if out, err := wrong.CombinedOutput(); err == nil || !strings.Contains(string(out), "TS2322") {
		t.Errorf("a room that is a number passes the type checker: %v\n%s", err, out)
	}
}

// run runs a program in the directory and returns what it prints.
func run(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(patient(t), name, args...)
	cmd.Dir = dir
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}
