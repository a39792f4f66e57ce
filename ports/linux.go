package ports

import (
	"fmt"
	"strings"
)

// nft inserts before what is there: an accept of another table would not help where
// the table in use drops.
func nft(b *strings.Builder, rules []Rule) {
	b.WriteString(`# Chain "input" of table "inet filter", as in Debian's /etc/nftables.conf; change the names if yours
# are others. Try it with: nft -c -f FILE. To keep it, write the rules into that chain in your file.
add table inet filter
add chain inet filter input
`)
	for _, r := range rules {
		family := ""
		switch {
		case r.Any():
		case r.IPv4:
			family = "meta nfproto ipv4 "
		case r.IPv6:
			family = "meta nfproto ipv6 "
		}
		fmt.Fprintf(b, "insert rule inet filter input %s%s dport %s accept comment \"rtcd: %s\"\n", family, r.Protocol, r.Range("-"), r.Purpose)
	}
}

func ufw(b *strings.Builder, rules []Rule) {
	for _, r := range rules {
		if r.Any() {
			fmt.Fprintf(b, "ufw allow %s/%s comment 'rtcd: %s'\n", r.Range(":"), r.Protocol, r.Purpose)
			continue
		}
		for _, from := range r.sources() {
			fmt.Fprintf(b, "ufw allow proto %s from %s to any port %s comment 'rtcd: %s'\n", r.Protocol, from, r.Range(":"), r.Purpose)
		}
	}
}

func firewalld(b *strings.Builder, rules []Rule) {
	for _, r := range rules {
		if r.Any() {
			fmt.Fprintf(b, "firewall-cmd --permanent --add-port=%s/%s # %s\n", r.Range("-"), r.Protocol, r.Purpose)
			continue
		}
		for _, family := range r.families("ipv4", "ipv6") {
			fmt.Fprintf(b, "firewall-cmd --permanent --add-rich-rule='rule family=\"%s\" port port=\"%s\" protocol=\"%s\" accept' # %s\n",
				family, r.Range("-"), r.Protocol, r.Purpose)
		}
	}
	b.WriteString("firewall-cmd --reload\n")
}

func iptables(b *strings.Builder, rules []Rule) {
	for _, r := range rules {
		for _, program := range r.families("iptables", "ip6tables") {
			fmt.Fprintf(b, "%s -I INPUT -p %s --dport %s -m comment --comment 'rtcd: %s' -j ACCEPT\n",
				program, r.Protocol, r.Range(":"), r.Purpose)
		}
	}
	b.WriteString("# To keep them over a restart: apt install iptables-persistent && netfilter-persistent save\n")
}
