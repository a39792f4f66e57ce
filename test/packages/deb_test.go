package packages

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"rtcd/test/lab"
)

// setUp installs the package on the machine and starts what `rtcd init` has written.
func setUp(t *testing.T, m *machine) {
	t.Helper()
	m.sh(t, "apt-get install -y ./"+m.put(t, world.deb))
	m.sh(t, "rtcd init --domain "+host)
	m.sh(t, "systemctl start rtcd")
}

// A package's life: installed it starts nothing that nobody has set up; set up it relays as
// a user of its own, without privileges; reloads, stops, is upgraded with its configuration,
// removed, and purged without trace.
func TestPackage(t *testing.T) {
	m := boot(t)
	before := m.traces(t)
	out := m.sh(t, "apt-get install -y ./"+m.put(t, world.deb))
	if !strings.Contains(out, "rtcd init --domain") {
		t.Errorf("the package does not say what comes next:\n%s", out)
	}
	m.sh(t, "systemctl start rtcd")
	if state := m.output("systemctl is-active rtcd"); state != "inactive" {
		t.Errorf("a relay that nobody has set up is %s", state)
	}
	if got := m.sh(t, "stat -c '%a %U %n' /etc/rtcd/*"); got != "600 rtcd /etc/rtcd/token.secret\n600 rtcd /etc/rtcd/turn.secret" {
		t.Errorf("after installation there are\n%s", got)
	}
	for _, page := range []string{"rtcd", "rtcd-serve"} {
		m.sh(t, "zcat /usr/share/man/man1/"+page+".1.gz | grep -q '^.TH'")
	}

	if out := m.sh(t, "rtcd init --domain "+host); !strings.Contains(out, "kept /etc/rtcd/turn.secret") {
		t.Errorf("rtcd init:\n%s", out)
	}
	m.sh(t, "systemctl start rtcd")
	m.wantSandbox(t)
	m.wantRelays(t, "after its start")
	m.wantCheckPage(t)
	if out := m.sh(t, "systemctl status --no-pager rtcd"); !strings.Contains(out, "serving https://"+host) {
		t.Errorf("its status is\n%s", out)
	}

	m.reload(t)
	m.rotate(t)

	m.sh(t, "systemctl stop rtcd")
	if got := m.sh(t, "systemctl show -p Result -p ActiveState rtcd"); got != "Result=success\nActiveState=inactive" {
		t.Errorf("stopped: %s", got)
	}
	m.sh(t, "systemctl start rtcd")
	m.upgrade(t)

	config := m.sh(t, "sha256sum /etc/rtcd/*")
	m.sh(t, "apt-get remove -y rtcd-server")
	if got := m.sh(t, "sha256sum /etc/rtcd/*"); got != config {
		t.Errorf("removal has changed\n%s\nto\n%s", config, got)
	}
	m.refused(t, "pgrep -x rtcd")
	m.sh(t, "apt-get purge -y rtcd-server")
	if after := m.traces(t); !slices.Equal(before, after) {
		t.Errorf("after a purge there are %q, before there were %q", after, before)
	}
}

// traces are the files and users of the machine with rtcd in their name or path, but for what
// the commands that root has run keep in root's own state directory.
func (m *machine) traces(t *testing.T) []string {
	t.Helper()
	return strings.Fields(m.sh(t, "rm -rf *.deb .local; find / -xdev -path '*rtcd*' -not -path '/proc/*' -not -path '/sys/*'; grep rtcd /etc/passwd /etc/group /etc/shadow; true"))
}

// wantSandbox looks at the process as the kernel sees it.
func (m *machine) wantSandbox(t *testing.T) {
	t.Helper()
	status := m.sh(t, "cat /proc/$(systemctl show -P MainPID rtcd)/status; id -u rtcd")
	user := status[strings.LastIndex(status, "\n")+1:]
	const bind = "0000000000000400" // CAP_NET_BIND_SERVICE alone
	for _, line := range []string{
		"Uid:\t" + user + "\t" + user, "NoNewPrivs:\t1", "Seccomp:\t2", "CapEff:\t" + bind, "CapBnd:\t" + bind, "CapAmb:\t" + bind,
	} {
		if !strings.Contains(status, line) {
			t.Errorf("the process has no %q:\n%s", line, status)
		}
	}
	if got := m.sh(t, "stat -c '%a %U %F' /run/rtcd/admin.sock /var/lib/rtcd"); got != "600 rtcd socket\n700 rtcd directory" {
		t.Errorf("admin socket and state directory: %s", got)
	}
}

// wantRelays relays packets from outside, with credentials minted on the machine.
func (m *machine) wantRelays(t *testing.T, when string) {
	t.Helper()
	pair := m.credentials(t)
	out, err := world.alice.Command(patient(t), world.program, "probe", fmt.Sprintf("turn:%s:3478", m.node.IP4),
		"--username", pair.username, "--credential", pair.password).CombinedOutput()
	if err != nil {
		t.Errorf("%s: %v\n%s", when, err, out)
	}
}

type credentials struct{ username, password string }

func (m *machine) credentials(t *testing.T) (c credentials) {
	t.Helper()
	var minted struct {
		ICEServers []struct{ Username, Credential string }
	}
	if err := json.Unmarshal([]byte(m.sh(t, "rtcd credentials --format json")), &minted); err != nil {
		t.Fatal(err)
	}
	for _, s := range minted.ICEServers {
		if s.Username != "" {
			return credentials{s.Username, s.Credential}
		}
	}
	t.Fatal("rtcd credentials mints none")
	return c
}

// wantCheckPage opens the check page from outside.
func (m *machine) wantCheckPage(t *testing.T) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{
		DialContext: world.alice.Dial, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true,
	}}
	answer, err := client.Get("https://" + m.node.IP4.String() + "/check")
	if err != nil {
		t.Error(err)
		return
	}
	defer func() { _ = answer.Body.Close() }()
	if page, err := io.ReadAll(answer.Body); err != nil || answer.StatusCode != http.StatusOK || !strings.Contains(string(page), "<html") {
		t.Errorf("GET /check: %s %v\n%s", answer.Status, err, page)
	}
}

// reload has systemctl tell whether a configuration was taken.
func (m *machine) reload(t *testing.T) {
	t.Helper()
	pid := m.sh(t, "systemctl show -P MainPID rtcd")
	m.sh(t, "sed -i 's/^  level: info/  level: debug/' /etc/rtcd/config.yaml && grep -q 'level: debug' /etc/rtcd/config.yaml")
	m.sh(t, "systemctl reload rtcd")
	if got := m.sh(t, "rtcd loglevel"); got != "debug" {
		t.Errorf("after the reload the log level is %q", got)
	}
	m.sh(t, "cp -p /etc/rtcd/config.yaml good && echo 'domian: x' >>/etc/rtcd/config.yaml")
	m.refused(t, "systemctl reload rtcd")
	if got := m.sh(t, "systemctl is-active rtcd"); got != "active" {
		t.Errorf("after a reload that was refused it is %s", got)
	}
	m.want(t, "journalctl --no-pager -u rtcd", "domian")
	m.sh(t, "mv good /etc/rtcd/config.yaml && systemctl reload rtcd")
	if now := m.sh(t, "systemctl show -P MainPID rtcd"); now != pid {
		t.Error("a reload has started another process")
	}
	m.wantRelays(t, "after a reload")
}

// rotate changes the secret of a running service; then it takes away the service's right to
// read it, so that it has to be handed over.
func (m *machine) rotate(t *testing.T) {
	t.Helper()
	m.sh(t, "echo 00112233445566778899aabbccddeeff >/etc/rtcd/turn.secret")
	m.want(t, "journalctl --no-pager -u rtcd", "turn.secrets")
	m.wantRelays(t, "with a new secret")
	m.sh(t, "chown root: /etc/rtcd/turn.secret /etc/rtcd/token.secret && systemctl restart rtcd")
	m.wantRelays(t, "with secrets that only root can read")
	m.sh(t, "chown rtcd: /etc/rtcd/turn.secret /etc/rtcd/token.secret")
}

// upgrade installs the same package under a higher version.
func (m *machine) upgrade(t *testing.T) {
	t.Helper()
	config, pid := m.sh(t, "sha256sum /etc/rtcd/*"), m.sh(t, "systemctl show -P MainPID rtcd")
	m.sh(t, "apt-get install -y ./"+m.put(t, newer(t)))
	m.want(t, "systemctl show -P MainPID -P ActiveState rtcd | tr '\\n' ' ' | grep -v '^"+pid+" '", "active")
	if got := m.sh(t, "sha256sum /etc/rtcd/*"); got != config {
		t.Errorf("the upgrade has changed\n%s\nto\n%s", config, got)
	}
	m.want(t, "systemctl is-active rtcd", "active")
	m.wantRelays(t, "after the upgrade")
}

// newer repacks the package with a higher version.
func newer(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "deb")
	deb := filepath.Join(t.TempDir(), "newer.deb")
	script := `dpkg-deb -R "$1" "$2" && sed -i 's/^Version: .*/Version: 99/' "$2/DEBIAN/control" && dpkg-deb -Zgzip -z1 -b --root-owner-group "$2" "$3"`
	if out, err := exec.Command("sh", "-ec", script, "sh", world.deb, dir, deb).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return deb
}

// A relay that does not answer is started anew, though its process lives; a hub likewise.
func TestWatchdog(t *testing.T) {
	if !long {
		t.Skip("a quarter of a minute; make e2e does it, and cmd/rtcd feeds and starves a notify socket")
	}
	m := boot(t)
	setUp(t, m)
	m.sh(t, "mkdir -p /run/systemd/system/rtcd.service.d && printf '[Service]\\nWatchdogSec=4\\n' "+
		">/run/systemd/system/rtcd.service.d/quick.conf && systemctl daemon-reload && systemctl restart rtcd")
	for _, port := range []string{"udp dport 3478", "tcp dport 443"} {
		restarts := restarts(t, m)
		deaf(t, m.node, port)
		for ctx := patient(t); ; {
			if now := m.output("systemctl show -P NRestarts rtcd"); now != strconv.Itoa(restarts) {
				break
			}
			if ctx.Err() != nil {
				t.Fatalf("%s: nothing is started anew", port)
			}
		}
		hearing(t, m.node)
		m.want(t, "journalctl --no-pager -u rtcd", "watchdog")
		m.want(t, "rtcd check --health", "ok")
		m.wantRelays(t, "after silence at "+port)
	}
}

func restarts(t *testing.T, m *machine) int {
	t.Helper()
	n, err := strconv.Atoi(m.sh(t, "systemctl show -P NRestarts rtcd"))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// deaf drops what a node sends to a port of its own.
func deaf(t *testing.T, node *lab.Node, match string) {
	t.Helper()
	nft(t, node, "table inet deaf {\n chain in {\n  type filter hook input priority 0;\n  iif lo "+match+" drop\n }\n}\n")
}

func hearing(t *testing.T, node *lab.Node) { t.Helper(); nft(t, node, "delete table inet deaf\n") }

func nft(t *testing.T, node *lab.Node, rules string) {
	t.Helper()
	cmd := node.Command(patient(t), "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(rules)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("nft: %v\n%s", err, out)
	}
}

// The unit is without fault, and as closed as a relay can be.
func TestUnit(t *testing.T) {
	root := t.TempDir()
	for name, data := range map[string]string{"usr/bin/rtcd": "program", "usr/share/man/man1/rtcd.1": "page"} {
		if err := os.MkdirAll(filepath.Join(root, filepath.Dir(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, name), []byte(data), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	unit, err := os.ReadFile("../../deploy/rtcd.service")
	if err != nil {
		t.Fatal(err)
	}
	// Where the program is, is the package's business.
	moved := strings.ReplaceAll(string(unit), "/usr/bin/rtcd", filepath.Join(root, "usr/bin/rtcd"))
	moved = strings.ReplaceAll(moved, "Documentation=man:rtcd(1)", "")
	file := filepath.Join(root, "rtcd.service")
	if err := os.WriteFile(file, []byte(moved), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("systemd-analyze", "verify", file).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	out, err := exec.Command("systemd-analyze", "security", "--offline=yes", "--threshold=20", file).CombinedOutput()
	if err != nil {
		t.Errorf("more exposed than 2.0: %v\n%s", err, out)
	}
	t.Logf("%s", out[max(0, strings.LastIndex(string(out), "→")):])
}

// The package keeps Debian's rules, but for those that its overrides name with a reason.
func TestLintian(t *testing.T) {
	if !long {
		t.Skip("half a minute; make e2e does it")
	}
	out, err := exec.Command("lintian", "--allow-root", "--fail-on", "error,warning", world.deb).CombinedOutput()
	if err != nil {
		t.Errorf("lintian: %v\n%s", err, out)
	}
}
