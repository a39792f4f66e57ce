package ports

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Rule says that packets to these ports have to come in.
type Rule struct {
	Protocol    string // "tcp" or "udp"
	First, Last uint16 // both included
	IPv4, IPv6  bool   // the families that are listened on; one at least
	Purpose     string // a few words in ASCII without quotes, since firewalls keep them as comments
}

// Any tells whether the rule is for both families.
func (r Rule) Any() bool { return r.IPv4 && r.IPv6 }

// Range is the ports as most firewalls write them: one number, or two with sep between.
func (r Rule) Range(sep string) string {
	if r.First == r.Last {
		return fmt.Sprint(r.First)
	}
	return fmt.Sprintf("%d%s%d", r.First, sep, r.Last)
}

// families are those of the rule as words, v4 and v6.
func (r Rule) families(v4, v6 string) (out []string) {
	if r.IPv4 {
		out = append(out, v4)
	}
	if r.IPv6 {
		out = append(out, v6)
	}
	return out
}

// sources are the networks that may send: everybody, of the rule's families.
func (r Rule) sources() []string { return r.families("0.0.0.0/0", "::/0") }

// Merge puts rules for the same ports together, and sorts: TCP first, then by port.
func Merge(rules []Rule) []Rule {
	var out []Rule
	for _, r := range rules {
		i := slices.IndexFunc(out, func(o Rule) bool {
			return o.Protocol == r.Protocol && o.First == r.First && o.Last == r.Last
		})
		if i < 0 {
			out = append(out, r)
			continue
		}
		out[i].IPv4, out[i].IPv6 = out[i].IPv4 || r.IPv4, out[i].IPv6 || r.IPv6
		if !slices.Contains(strings.Split(out[i].Purpose, " + "), r.Purpose) {
			out[i].Purpose += " + " + r.Purpose
		}
	}
	slices.SortStableFunc(out, func(a, b Rule) int {
		return cmp.Or(cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.First, b.First))
	})
	return out
}
