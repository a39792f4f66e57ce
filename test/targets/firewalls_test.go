package targets

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
)

// rules is how many the ports of server make.
const rules = 7

func text(t *testing.T, format string) string {
	t.Helper()
	return rtcd(t, server, "ports", "--format", format)
}

// shell runs a script in a network namespace of its own and returns what it prints.
func shell(t *testing.T, script string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "unshare", "--net", "sh", "-e")
	cmd.Stdin = strings.NewReader(script)
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s\nof\n%s", err, out, script)
	}
	return string(out)
}

func wantLines(t *testing.T, got string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(got, w) {
			t.Errorf("%q is missing in\n%s", w, got)
		}
	}
}

// A table like Debian's, whose chain refuses all: our rules have to come before that.
func TestNftTakesTheRules(t *testing.T) {
	got := shell(t, `nft -f - <<'END'
table inet filter {
	chain input {
		type filter hook input priority filter; policy drop;
		counter drop
	}
}
END
nft -c -f - <<'END'
`+text(t, "nft")+`END
nft -f - <<'END'
`+text(t, "nft")+`END
nft list chain inet filter input`)
	wantLines(t, got,
		"tcp dport 443 accept", "meta nfproto ipv4 udp dport 3478 accept",
		"meta nfproto ipv6 tcp dport 5349 accept", "meta nfproto ipv4 udp dport 49152-65535 accept",
		"policy drop")
	if strings.LastIndex(got, "accept") > strings.Index(got, "counter") {
		t.Errorf("a rule comes too late:\n%s", got)
	}
}

// Also where there is no table yet.
func TestNftTakesTheRulesOfAnEmptyMachine(t *testing.T) {
	shell(t, "nft -c -f - <<'END'\n"+text(t, "nft")+"END\n")
}

func TestIptablesTakesTheRules(t *testing.T) {
	got := shell(t, text(t, "iptables")+"echo four; iptables -S INPUT; echo six; ip6tables -S INPUT")
	four, six, _ := strings.Cut(got, "six")
	wantLines(t, four, "-p tcp -m tcp --dport 443", "-p udp -m udp --dport 49152:65535")
	wantLines(t, six, "-p tcp -m tcp --dport 443", "-p tcp -m tcp --dport 5349")
	if strings.Contains(six, "49152") || strings.Contains(four, "5349") {
		t.Errorf("a rule is in the wrong family:\n%s", got)
	}
}

func TestUfwTakesTheRules(t *testing.T) {
	n := 0
	for line := range strings.Lines(text(t, "ufw")) {
		n++
		got := shell(t, strings.Replace(line, "ufw ", "ufw --dry-run ", 1))
		wantLines(t, got, "### tuple ### allow")
	}
	if n != rules {
		t.Errorf("%d commands for %d rules", n, rules)
	}
}

// firewall-offline-cmd is firewall-cmd without the daemon; it writes the same files.
func TestFirewalldTakesTheRules(t *testing.T) {
	dir := t.TempDir()
	script := strings.ReplaceAll(text(t, "firewalld"), "firewall-cmd --permanent", "firewall-offline-cmd --system-config="+dir)
	script = strings.ReplaceAll(script, "firewall-cmd --reload", "")
	shell(t, script)
	zone, err := os.ReadFile(filepath.Join(dir, "zones", "public.xml"))
	if err != nil {
		t.Fatal(err)
	}
	wantLines(t, string(zone), `<port port="443" protocol="tcp"/>`, `<port port="3478" protocol="udp"/>`, `<rule family="ipv4">`,
		`<rule family="ipv6">`, `<port port="5349" protocol="tcp"/>`, `<port port="49152-65535" protocol="udp"/>`)
}

// Both files are HCL, and each rule is a block or an entry of it.
func TestTerraformCanBeParsed(t *testing.T) {
	for format, want := range map[string]int{"terraform": 9, "terraform-hcloud": rules} {
		file, diags := hclsyntax.ParseConfig([]byte(text(t, format)), "rtcd.tf", hcl.InitialPos)
		if diags.HasErrors() {
			t.Fatalf("%s: %v", format, diags)
		}
		if text := text(t, format); string(hclwrite.Format([]byte(text))) != text {
			t.Errorf("%s: terraform fmt would change it", format)
		}
		n := 0
		for _, b := range file.Body.(*hclsyntax.Body).Blocks {
			for _, inner := range b.Body.Blocks {
				if inner.Type == "rule" {
					n++
				}
			}
			if a, ok := b.Body.Attributes["rtcd_ingress"]; ok {
				v, diags := a.Expr.Value(nil)
				if diags.HasErrors() {
					t.Fatalf("%s: %v", format, diags)
				}
				n += v.LengthInt()
			}
		}
		if n != want {
			t.Errorf("%s: %d rules, want %d", format, n, want)
		}
	}
}

// A program in the path of the shell stands for the cloud's own and shows what it got.
func TestCloudCommandsHandOverWholeRules(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"aws", "hcloud", "gcloud", "az"} {
		script := `#!/bin/sh
for a in "$@"; do printf '%s\n' "<$a>"; done
case "$*" in *"--rules-file -"*) cat ;; esac
`
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	run := func(format string) string {
		return shell(t, "PATH="+dir+":$PATH GROUP=sg-1 SERVER='my server' RG=group NSG=nsg\n"+text(t, format))
	}
	got := run("aws")
	_, rest, _ := strings.Cut(got, "<--ip-permissions>\n<")
	var permissions []map[string]any
	if err := json.Unmarshal([]byte(strings.TrimSuffix(strings.TrimSpace(rest), ">")), &permissions); err != nil || len(permissions) != rules {
		t.Errorf("aws: %d permissions, error %v:\n%s", len(permissions), err, got)
	}
	wantLines(t, got, "<--group-id>\n<sg-1>")

	got = run("hcloud")
	begin, end := strings.Index(got, "["), strings.LastIndex(got, "]")
	var list []map[string]any
	if err := json.Unmarshal([]byte(got[begin:end+1]), &list); err != nil || len(list) != rules {
		t.Errorf("hcloud: %d rules, error %v:\n%s", len(list), err, got)
	}
	wantLines(t, got, "<--server>\n<my server>")

	wantLines(t, run("gcloud"), "<--allow=tcp:443,tcp:3478,udp:443,udp:3478,udp:49152-65535>", "<--allow=tcp:443,tcp:5349,udp:443,udp:5349>")
	wantLines(t, run("azure"), "<--destination-port-ranges>\n<443>", "<49152-65535>", "<--source-address-prefixes>\n<*>")
	if got := run("azure"); strings.Count(got, "<--priority>") != 6 {
		t.Errorf("azure: each protocol and family wants a rule:\n%s", got)
	}
}

// flood is run beside the sample firewall: a client that is known, a thousand new ones of the
// same address, the known one again; then a packet to an inner network.
const flood = `python3 - <<'END'
import socket
def udp():
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server, known = udp(), udp()
server.bind(("127.0.0.1", 3478))
server.setblocking(False)
def arrives(client):
    client.sendto(b"x", ("127.0.0.1", 3478))
    try:
        return server.recvfrom(10)[1]
    except BlockingIOError:
        return None
server.sendto(b"answer", arrives(known))
strangers = [udp() for _ in range(1000)]
print("new ones of", len(strangers), "that arrive:", sum(arrives(s) is not None for s in strangers))
print("the known one arrives:", arrives(known) is not None)
try:
    udp().sendto(b"x", ("10.1.2.3", 9))
    print("the inner network is reached")
except PermissionError:
    print("the inner network is refused")
END
`

// TestSampleFirewall: nft takes deploy/nftables.example.conf, twice too; a flood of new sources is
// cut, who is in a session is not, and nothing leaves for an inner network.
func TestSampleFirewall(t *testing.T) {
	sample, err := os.ReadFile("../../deploy/nftables.example.conf")
	if err != nil {
		t.Fatal(err)
	}
	const user = `meta skuid != "rtcd"` // whom this machine does not have
	if strings.Count(string(sample), user) != 1 {
		t.Fatalf("the sample does not have %s once", user)
	}
	file := filepath.Join(t.TempDir(), "nftables.conf")
	text := strings.Replace(string(sample), user, `meta skuid != "root"`, 1)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got := shell(t, "nft -c -f "+file+"; nft -f "+file+"; nft -f "+file+`
ip link set lo up
ip link add inner type veth peer name far
ip addr add 10.1.2.1/24 dev inner
ip link set inner up
ip link set far up
ulimit -n 2048
`+flood+"nft list table inet rtcd")
	var arrived int
	_, line, _ := strings.Cut(got, "new ones of 1000 that arrive: ")
	if _, err := fmt.Sscan(line, &arrived); err != nil {
		t.Fatalf("%v\n%s", err, got)
	}
	if arrived < 190 || arrived > 900 {
		t.Errorf("%d new ones arrive, want the burst of 200 and what time adds", arrived)
	}
	wantLines(t, got, "the known one arrives: True", "the inner network is refused", fmt.Sprintf("counter packets %d", 1000-arrived), "192.168.0.0/16, 224.0.0.0/4 } counter packets 1 ")
}
