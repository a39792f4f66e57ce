package ports

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// Format is one way to write rules.
type Format struct {
	Name  string
	About string // for the help text
	write func(*strings.Builder, []Rule)
}

// Formats lists them, the one for people first.
func Formats() []Format {
	return []Format{
		{"table", "for people", table},
		{"nft", "nftables: nft -f FILE", nft},
		{"ufw", "Ubuntu's ufw", ufw},
		{"firewalld", "firewalld's default zone", firewalld},
		{"iptables", "iptables and ip6tables", iptables},
		{"aws", "AWS CLI, security group $GROUP", aws},
		{"hcloud", "Hetzner Cloud CLI", hcloud},
		{"gcloud", "Google Cloud CLI", gcloud},
		{"azure", "Azure CLI, security group $NSG", azure},
		{"terraform", "Terraform, AWS", terraformAWS},
		{"terraform-hcloud", "Terraform, Hetzner Cloud", terraformHcloud},
		{"json", "for programs", asJSON},
	}
}

// Write writes rules, which are merged, in the format of that name; false if there is none.
func Write(w io.Writer, name string, rules []Rule) (known bool, err error) {
	for _, f := range Formats() {
		if f.Name == name {
			var b strings.Builder
			f.write(&b, rules)
			_, err = io.WriteString(w, b.String())
			return true, err
		}
	}
	return false, nil
}

func table(b *strings.Builder, rules []Rule) {
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "PORTS\tFAMILIES\tFOR")
	for _, r := range rules {
		fmt.Fprintf(t, "%s/%s\t%s\t%s\n", r.Range("-"), r.Protocol, strings.Join(r.families("IPv4", "IPv6"), " "), r.Purpose)
	}
	t.Flush() // into a Builder, which takes everything
}

// asJSON is a list, stable for programs.
func asJSON(b *strings.Builder, rules []Rule) {
	type row struct {
		Protocol string   `json:"protocol"`
		First    uint16   `json:"first"`
		Last     uint16   `json:"last"`
		Families []string `json:"families"`
		Purpose  string   `json:"purpose"`
	}
	list := []row{}
	for _, r := range rules {
		list = append(list, row{r.Protocol, r.First, r.Last, r.families("ipv4", "ipv6"), r.Purpose})
	}
	b.WriteString(indented(list))
}

// indented is v as JSON that ends with a line break. Only a type that JSON does not
// have can make it fail, and there is none here.
func indented(v any) string {
	out, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		panic(err)
	}
	return string(out) + "\n"
}
