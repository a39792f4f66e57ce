package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/spf13/cobra"

	"rtcd/config"
	"rtcd/ports"
)

func portsCommand() *cobra.Command {
	var flags configFlags
	var format string
	var dns bool
	cmd := &cobra.Command{
		Use:   "ports",
		Short: "Print the ports to open as firewall rules, or the DNS records",
		Long: "Prints which ports of the configuration others have to reach, as a table or as rules for a firewall.\n" +
			"Nothing is applied: look at it, then paste it. Formats:\n\n" + portFormats(),
		Example: "  rtcd ports\n  rtcd ports --format ufw | sh\n  rtcd ports --format nft | nft -c -f -\n  rtcd ports --dns",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := flags.load()
			if err != nil {
				return err
			}
			if dns {
				return printZone(cmd, c)
			}
			rules := openPorts(c)
			known, err := ports.Write(cmd.OutOrStdout(), format, rules)
			if !known {
				return unknownWord("--format", format, formatWords())
			}
			if format == "table" {
				noteForwards(cmd, c)
			}
			return err
		},
	}
	flags.add(cmd)
	cmd.Flags().StringVar(&format, "format", "table", "one of the formats above")
	cmd.Flags().BoolVar(&dns, "dns", false, "print the DNS records of the domain instead, as lines of a zone file")
	return cmd
}

func portFormats() string {
	var b strings.Builder
	for _, f := range ports.Formats() {
		fmt.Fprintf(&b, "  %-17s %s\n", f.Name, f.About)
	}
	return b.String()
}

func formatWords() (names []string) {
	for _, f := range ports.Formats() {
		names = append(names, f.Name)
	}
	return names
}

// unknownWord refuses a word that is none of those that a flag or argument takes.
func unknownWord(what, word string, words []string) error {
	return usageError{fmt.Errorf("%s %s: want one of %s%s", what, word, strings.Join(words, ", "), config.Suggest(word, words))}
}

// openPorts are the rules for what a configuration listens on, loopback and the admin
// endpoint left out.
func openPorts(c *config.Loaded) []ports.Rule {
	var rules []ports.Rule
	add := func(list []config.Address, purpose string, protocols ...string) {
		for _, a := range list {
			at := a.AddrPort()
			if !at.IsValid() || at.Port() == 0 || at.Addr().IsLoopback() {
				continue
			}
			for _, protocol := range protocols {
				rules = append(rules, ports.Rule{
					Protocol: protocol, First: at.Port(), Last: at.Port(), Purpose: purpose,
					IPv4: at.Addr().Is4() || at.Addr() == netip.IPv6Unspecified(), IPv6: at.Addr().Is6(),
				})
			}
		}
	}
	add(c.Listen.HTTPS, "pages, signaling and TURN over TLS", "tcp")
	add(c.Listen.HTTPS, "TURN", "udp")
	if len(c.Listen.HTTPS) > 0 {
		add(c.Listen.HTTP, "certificates and redirect to https", "tcp")
	} else {
		add(c.Listen.HTTP, "pages and signaling", "tcp")
	}
	add(c.Listen.Turn, "STUN and TURN", "udp", "tcp")
	add(c.Listen.Turns, "TURN over TLS and DTLS", "tcp", "udp")
	relayed := ports.Rule{Protocol: "udp", First: c.Turn.RelayPorts.Min, Last: c.Turn.RelayPorts.Max, Purpose: "relayed traffic"}
	relayed.IPv4, relayed.IPv6 = relayedFamilies(c.Turn)
	return ports.Merge(append(rules, relayed))
}

// relayedFamilies are those that relayed addresses may have: what is written, or both.
func relayedFamilies(t config.Turn) (v4, v6 bool) {
	for _, r := range t.RelayIPs {
		addr, _ := r.Addrs()
		v4, v6 = v4 || addr.Is4(), v6 || addr.Is6()
	}
	for _, e := range t.ExternalIP {
		addr, ok := e.Addr()
		v4, v6 = v4 || !ok || addr.Is4(), v6 || !ok || addr.Is6()
	}
	return v4, v6
}

// noteForwards says where a router in front has to send the ports.
func noteForwards(cmd *cobra.Command, c *config.Loaded) {
	addrs, err := externals(cmd.Context(), c)
	if err != nil {
		return // the address may be another machine's; the rules hold without it
	}
	for _, a := range addrs {
		if a.Local.Is4() && a.Local.IsPrivate() {
			fmt.Fprintf(cmd.ErrOrStderr(), "\nBehind a router, forward the same ports to %s there.\n", a.Local)
		}
	}
}

// printZone needs a name to write records for.
func printZone(cmd *cobra.Command, c *config.Loaded) error {
	if _, err := netip.ParseAddr(c.Domain); err == nil || c.Domain == "" {
		return errors.New("domain: --dns needs a host name there, like domain: rtc.example.com")
	}
	zone := ports.Zone{Name: c.Domain, Addrs: publicAddrs(cmd.Context(), c)}
	e := configuredEndpoints(c)
	if len(e.turn) > 0 {
		zone.Turn = e.turn[0]
	}
	e.trusted = true // it will be, by the time that somebody asks
	if secured, _, _ := e.ports(); len(secured) > 0 {
		zone.Turns = secured[0]
	}
	if len(zone.Addrs) == 0 {
		fmt.Fprintln(cmd.ErrOrStderr(), "No public address is known here: add the A and AAAA records of the server, or set turn.external_ip.")
	}
	return zone.Write(cmd.OutOrStdout())
}

// publicAddrs are the addresses that DNS may name.
func publicAddrs(ctx context.Context, c *config.Loaded) (out []netip.Addr) {
	addrs, err := externals(ctx, c)
	if err != nil {
		return nil
	}
	for _, a := range addrs {
		if isPublic(a.Public) {
			out = append(out, a.Public)
		}
	}
	return out
}
