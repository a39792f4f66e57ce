package ports

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// aws writes one command with all rules; a security group takes both families in one.
func aws(b *strings.Builder, rules []Rule) {
	type v4 struct {
		CIDR        string `json:"CidrIp"`
		Description string
	}
	type v6 struct {
		CIDR        string `json:"CidrIpv6"`
		Description string
	}
	type permission struct {
		Protocol         string `json:"IpProtocol"`
		FromPort, ToPort uint16
		V4               []v4 `json:"IpRanges,omitempty"`
		V6               []v6 `json:"Ipv6Ranges,omitempty"`
	}
	list := []permission{}
	for _, r := range rules {
		p := permission{Protocol: r.Protocol, FromPort: r.First, ToPort: r.Last}
		if r.IPv4 {
			p.V4 = []v4{{"0.0.0.0/0", awsText(r.Purpose)}}
		}
		if r.IPv6 {
			p.V6 = []v6{{"::/0", awsText(r.Purpose)}}
		}
		list = append(list, p)
	}
	fmt.Fprintf(b, "# GROUP is the id of the security group of the server, like sg-0123456789abcdef0.\n"+
		"aws ec2 authorize-security-group-ingress --group-id \"$GROUP\" --ip-permissions '%s'\n", strings.TrimSuffix(indented(list), "\n"))
}

// awsText keeps to the letters that a description of AWS may have.
func awsText(purpose string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune("._-:/()#,@[]+=&;{}!$* ", r) || r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' {
			return r
		}
		return '-'
	}, "rtcd: "+purpose)
}

// hcloudSSH reminds of what a firewall of Hetzner Cloud does to all other ports.
const hcloudSSH = "# A firewall of Hetzner Cloud refuses whatever none of the server's firewalls lists: keep one for SSH.\n"

func hcloud(b *strings.Builder, rules []Rule) {
	type rule struct {
		Direction   string   `json:"direction"`
		Protocol    string   `json:"protocol"`
		Port        string   `json:"port"`
		SourceIPs   []string `json:"source_ips"`
		Description string   `json:"description"`
	}
	list := []rule{}
	for _, r := range rules {
		list = append(list, rule{"in", r.Protocol, r.Range("-"), r.sources(), "rtcd: " + r.Purpose})
	}
	b.WriteString(hcloudSSH + "# SERVER is the server's name.\nhcloud firewall create --name rtcd --rules-file - <<'RULES'\n" +
		indented(list) + "RULES\nhcloud firewall apply-to-resource rtcd --type server --server \"$SERVER\"\n")
}

// gcloud writes a rule for each family, since Google mixes none in a rule.
func gcloud(b *strings.Builder, rules []Rule) {
	b.WriteString("# For instances with the network tag rtcd: gcloud compute instances add-tags INSTANCE --tags=rtcd\n")
	for _, family := range []struct {
		name, source string
		has          func(Rule) bool
	}{
		{"rtcd-ipv4", "0.0.0.0/0", func(r Rule) bool { return r.IPv4 }},
		{"rtcd-ipv6", "::/0", func(r Rule) bool { return r.IPv6 }},
	} {
		var allow []string
		for _, r := range rules {
			if family.has(r) {
				allow = append(allow, r.Protocol+":"+r.Range("-"))
			}
		}
		if len(allow) > 0 {
			fmt.Fprintf(b, "gcloud compute firewall-rules create %s --direction=INGRESS --target-tags=rtcd --source-ranges=%s --allow=%s\n",
				family.name, family.source, strings.Join(allow, ","))
		}
	}
}

// azure writes a rule for each protocol. Its rules have one family each; "*" is both.
func azure(b *strings.Builder, rules []Rule) {
	b.WriteString("# RG is the resource group and NSG the network security group of the server.\n")
	priority := 300
	for _, protocol := range []string{"Tcp", "Udp"} {
		for _, source := range []string{"*", "0.0.0.0/0", "::/0"} {
			var list []string
			for _, r := range rules {
				if strings.EqualFold(r.Protocol, protocol) && (source == "*") == r.Any() && (r.Any() || slices.Contains(r.sources(), source)) {
					list = append(list, r.Range("-"))
				}
			}
			if len(list) == 0 {
				continue
			}
			fmt.Fprintf(b, "az network nsg rule create --resource-group \"$RG\" --nsg-name \"$NSG\" --name rtcd-%d --priority %d "+
				"--direction Inbound --access Allow --protocol %s --source-address-prefixes '%s' --destination-port-ranges %s\n",
				priority, priority, protocol, source, strings.Join(list, " "))
			priority++
		}
	}
}

func terraformAWS(b *strings.Builder, rules []Rule) {
	b.WriteString(`variable "security_group_id" {
  description = "Security group of the server that runs rtcd."
  type        = string
}

locals {
  rtcd_ingress = {
`)
	type entry struct {
		Rule
		key, family, source string
	}
	var entries []entry
	width := 0 // of the keys, which stand below each other as terraform fmt has them
	for _, r := range rules {
		for _, source := range r.sources() {
			family := "ipv4"
			if source == "::/0" {
				family = "ipv6"
			}
			e := entry{r, fmt.Sprintf("%s_%s_%s", r.Protocol, r.Range("_"), family), family, source}
			entries, width = append(entries, e), max(width, len(e.key))
		}
	}
	for _, r := range entries {
		fmt.Fprintf(b, "    %-*s = { protocol = %q, from = %d, to = %d, cidr_%s = %q, description = %s }\n",
			width, r.key, r.Protocol, r.First, r.Last, r.family, r.source, quoted(awsText(r.Purpose)))
	}
	b.WriteString(`  }
}

resource "aws_vpc_security_group_ingress_rule" "rtcd" {
  for_each          = local.rtcd_ingress
  security_group_id = var.security_group_id
  ip_protocol       = each.value.protocol
  from_port         = each.value.from
  to_port           = each.value.to
  cidr_ipv4         = lookup(each.value, "cidr_ipv4", null)
  cidr_ipv6         = lookup(each.value, "cidr_ipv6", null)
  description       = each.value.description
}
`)
}

func terraformHcloud(b *strings.Builder, rules []Rule) {
	b.WriteString(hcloudSSH + "resource \"hcloud_firewall\" \"rtcd\" {\n  name = \"rtcd\"\n")
	for _, r := range rules {
		fmt.Fprintf(b, `
  rule {
    direction   = "in"
    protocol    = %q
    port        = %q
    source_ips  = [%s]
    description = %s
  }
`, r.Protocol, r.Range("-"), `"`+strings.Join(r.sources(), `", "`)+`"`, quoted("rtcd: "+r.Purpose))
	}
	b.WriteString("}\n")
}

// quoted is a string of HCL, which JSON's are but for templates, and no purpose has
// those.
func quoted(s string) string {
	out, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(out)
}
