package ports_test

import (
	"encoding/json"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"rtcd/ports"
)

// sample is a server with TLS, whose relayed addresses are IPv4 alone.
func sample() []ports.Rule {
	both := func(protocol string, port uint16, purpose string) ports.Rule {
		return ports.Rule{Protocol: protocol, First: port, Last: port, IPv4: true, IPv6: true, Purpose: purpose}
	}
	return ports.Merge([]ports.Rule{
		both("tcp", 443, "pages and signaling"),
		both("udp", 3478, "STUN and TURN"), both("tcp", 3478, "STUN and TURN"),
		{Protocol: "tcp", First: 5349, Last: 5349, IPv6: true, Purpose: "TURN over TLS"},
		{Protocol: "udp", First: 49152, Last: 65535, IPv4: true, Purpose: "relayed traffic"},
	})
}

func text(t *testing.T, format string, rules []ports.Rule) string {
	t.Helper()
	var b strings.Builder
	if known, err := ports.Write(&b, format, rules); !known || err != nil {
		t.Fatalf("%s: known %v, error %v", format, known, err)
	}
	return b.String()
}

func TestMergePutsEqualPortsTogetherAndSorts(t *testing.T) {
	got := ports.Merge([]ports.Rule{
		{Protocol: "udp", First: 443, Last: 443, IPv4: true, Purpose: "TURN"},
		{Protocol: "tcp", First: 443, Last: 443, IPv4: true, Purpose: "pages"},
		{Protocol: "tcp", First: 443, Last: 443, IPv6: true, Purpose: "TURN over TLS"},
		{Protocol: "tcp", First: 443, Last: 443, IPv6: true, Purpose: "pages"},
		{Protocol: "tcp", First: 80, Last: 80, IPv4: true, Purpose: "redirect"},
	})
	want := []ports.Rule{
		{Protocol: "tcp", First: 80, Last: 80, IPv4: true, Purpose: "redirect"},
		{Protocol: "tcp", First: 443, Last: 443, IPv4: true, IPv6: true, Purpose: "pages + TURN over TLS"},
		{Protocol: "udp", First: 443, Last: 443, IPv4: true, Purpose: "TURN"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestTheTableIsForPeople(t *testing.T) {
	want := strings.TrimPrefix(`
PORTS            FAMILIES   FOR
443/tcp          IPv4 IPv6  pages and signaling
3478/tcp         IPv4 IPv6  STUN and TURN
5349/tcp         IPv6       TURN over TLS
3478/udp         IPv4 IPv6  STUN and TURN
49152-65535/udp  IPv4       relayed traffic
`, "\n")
	if diff := cmp.Diff(want, text(t, "table", sample())); diff != "" {
		t.Error(diff)
	}
}

// Each line is what the tool in question has to be told for that port and family;
// nothing may be open that is not listened on.
func TestEveryFormatNamesEveryPortOfItsFamilyAndNoOther(t *testing.T) {
	for _, c := range []struct {
		format    string
		want, not []string
	}{
		{"nft", []string{
			"insert rule inet filter input tcp dport 443 accept",
			"insert rule inet filter input udp dport 3478 accept",
			"insert rule inet filter input meta nfproto ipv6 tcp dport 5349 accept",
			"insert rule inet filter input meta nfproto ipv4 udp dport 49152-65535 accept",
		}, nil},
		{"ufw", []string{
			"ufw allow 443/tcp comment", "ufw allow 3478/udp comment", "ufw allow 3478/tcp comment",
			"ufw allow proto tcp from ::/0 to any port 5349 comment",
			"ufw allow proto udp from 0.0.0.0/0 to any port 49152:65535 comment",
		}, []string{"allow 5349", "from ::/0 to any port 49152"}},
		{"firewalld", []string{
			"--add-port=443/tcp", "--add-port=3478/udp", "--add-port=3478/tcp", "--reload",
			`family="ipv6" port port="5349" protocol="tcp"`, `family="ipv4" port port="49152-65535" protocol="udp"`,
		}, []string{"--add-port=5349", "--add-port=49152"}},
		{"iptables", []string{
			"\niptables -I INPUT -p tcp --dport 3478 ", "\nip6tables -I INPUT -p tcp --dport 3478 ",
			"\niptables -I INPUT -p udp --dport 49152:65535 ", "\nip6tables -I INPUT -p tcp --dport 5349 ",
		}, []string{"\nip6tables -I INPUT -p udp --dport 49152", "\niptables -I INPUT -p tcp --dport 5349"}},
		{"gcloud", []string{
			"rtcd-ipv4 --direction=INGRESS --target-tags=rtcd --source-ranges=0.0.0.0/0 --allow=tcp:443,tcp:3478,udp:3478,udp:49152-65535\n",
			"rtcd-ipv6 --direction=INGRESS --target-tags=rtcd --source-ranges=::/0 --allow=tcp:443,tcp:3478,tcp:5349,udp:3478\n",
		}, nil},
		{"azure", []string{
			"--protocol Tcp --source-address-prefixes '*' --destination-port-ranges 443 3478\n",
			"--protocol Tcp --source-address-prefixes '::/0' --destination-port-ranges 5349\n",
			"--protocol Udp --source-address-prefixes '*' --destination-port-ranges 3478\n",
			"--protocol Udp --source-address-prefixes '0.0.0.0/0' --destination-port-ranges 49152-65535\n",
		}, nil},
		{"terraform", []string{
			`tcp_443_ipv4         = { protocol = "tcp", from = 443, to = 443, cidr_ipv4 = "0.0.0.0/0"`,
			`tcp_443_ipv6         = { protocol = "tcp", from = 443, to = 443, cidr_ipv6 = "::/0"`,
			`udp_49152_65535_ipv4 = { protocol = "udp", from = 49152, to = 65535, cidr_ipv4 = "0.0.0.0/0"`,
		}, []string{"udp_49152_65535_ipv6", "tcp_5349_ipv4"}},
	} {
		got := "\n" + text(t, c.format, sample())
		for _, w := range c.want {
			if !strings.Contains(got, w) {
				t.Errorf("%s: missing %q in\n%s", c.format, w, got)
			}
		}
		for _, n := range c.not {
			if strings.Contains(got, n) {
				t.Errorf("%s: has %q, which nobody listens on, in\n%s", c.format, n, got)
			}
		}
	}
}

func TestJSONOfCloudsHoldsTheSameRules(t *testing.T) {
	var own []struct {
		Protocol    string
		First, Last uint16
		Families    []string
		Purpose     string
	}
	if err := json.Unmarshal([]byte(text(t, "json", sample())), &own); err != nil || len(own) != 5 {
		t.Fatalf("%d rules, error %v", len(own), err)
	}
	if got := own[4]; got.First != 49152 || got.Last != 65535 || !cmp.Equal(got.Families, []string{"ipv4"}) {
		t.Errorf("relay ports are %+v", got)
	}

	_, quoted, _ := strings.Cut(text(t, "aws", sample()), "'")
	var aws []struct {
		Protocol         string `json:"IpProtocol"`
		FromPort, ToPort uint16
		V4               []struct {
			CIDR string `json:"CidrIp"`
		} `json:"IpRanges"`
		V6 []struct {
			CIDR string `json:"CidrIpv6"`
		} `json:"Ipv6Ranges"`
	}
	if err := json.Unmarshal([]byte(strings.TrimSuffix(quoted, "'\n")), &aws); err != nil || len(aws) != 5 {
		t.Fatalf("%d rules, error %v", len(aws), err)
	}
	if r := aws[2]; r.FromPort != 5349 || r.Protocol != "tcp" || len(r.V4) != 0 || len(r.V6) != 1 || r.V6[0].CIDR != "::/0" {
		t.Errorf("IPv6 alone became %+v", r)
	}

	_, list, _ := strings.Cut(text(t, "hcloud", sample()), "'RULES'\n")
	list, _, _ = strings.Cut(list, "RULES\n")
	var hcloud []struct {
		Direction, Protocol, Port string
		SourceIPs                 []string `json:"source_ips"`
	}
	if err := json.Unmarshal([]byte(list), &hcloud); err != nil || len(hcloud) != 5 {
		t.Fatalf("%d rules, error %v", len(hcloud), err)
	}
	if r := hcloud[4]; r.Port != "49152-65535" || !cmp.Equal(r.SourceIPs, []string{"0.0.0.0/0"}) {
		t.Errorf("relay ports are %+v", r)
	}
}

func TestWhatIsForAShellIsShell(t *testing.T) {
	for _, f := range []string{"ufw", "firewalld", "iptables", "aws", "hcloud", "gcloud", "azure"} {
		sh := exec.Command("sh", "-n")
		sh.Stdin = strings.NewReader(text(t, f, sample()))
		if out, err := sh.CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", f, err, out)
		}
	}
}

func TestAnUnknownFormatIsNone(t *testing.T) {
	if known, _ := ports.Write(&strings.Builder{}, "pf", nil); known {
		t.Error("pf is known")
	}
}

func TestAZoneLeadsToTheServer(t *testing.T) {
	var b strings.Builder
	zone := ports.Zone{
		Name: "rtc.example.com", Turn: 3478, Turns: 5349,
		Addrs: []netip.Addr{netip.MustParseAddr("203.0.113.5"), netip.MustParseAddr("2001:db8::5")},
	}
	if err := zone.Write(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"rtc.example.com. 300 IN A 203.0.113.5\n",
		"rtc.example.com. 300 IN AAAA 2001:db8::5\n",
		"_stun._udp.rtc.example.com. 300 IN SRV 0 0 3478 rtc.example.com.\n",
		"_turns._tcp.rtc.example.com. 300 IN SRV 0 0 5349 rtc.example.com.\n",
		`rtc.example.com. 300 IN NAPTR 300 10 "S" "RELAY:turn.tls" "" _turns._tcp.rtc.example.com.` + "\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("missing %q in\n%s", want, &b)
		}
	}
	b.Reset()
	zone.Turns = 0
	if zone.Write(&b); strings.Contains(b.String(), "turns") {
		t.Errorf("a server without TLS is announced with it:\n%s", &b)
	}
}
