package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"rtcd/config"
	"rtcd/creds"
)

func tokenCommand() *cobra.Command {
	var flags configFlags
	var claims creds.Claims
	ttl := durationFlag(24 * time.Hour)
	var link bool
	cmd := &cobra.Command{
		Use: "token --room ROOM", Short: "Mint a join token for the hub", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if claims.Room == "" {
				return usageError{errors.New("--room is missing")}
			}
			c, err := flags.load()
			if err != nil {
				return err
			}
			s, err := loadSecrets(c)
			if err != nil {
				return err
			}
			tokens, err := s.tokens()
			if err != nil {
				return err
			}
			claims.Expires = time.Now().Add(time.Duration(ttl))
			var out string
			if link {
				out, err = configuredLink(cmd, c, tokens, claims)
			} else {
				out, err = tokens.Sign(claims)
			}
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), out)
			return err
		},
	}
	flags.add(cmd)
	cmd.Flags().StringVar(&claims.Room, "room", "", "the `room` that the bearer may join (required)")
	cmd.Flags().StringVar(&claims.Name, "name", "", "`name` that the others see")
	cmd.Flags().StringVar(&claims.Subject, "subject", "", "`id` of the person across sessions")
	cmd.Flags().StringSliceVar(&claims.Perms, "perm", nil, "what the bearer may do beyond being a member")
	cmd.Flags().Var(&ttl, "ttl", "how long it is valid")
	cmd.Flags().BoolVar(&link, "link", false, "print a link to the call page instead of the bare token")
	return cmd
}

// configuredLink is the join link of the site that the configuration describes.
func configuredLink(cmd *cobra.Command, c *config.Loaded, tokens *creds.Tokens, claims creds.Claims) (string, error) {
	addrs, err := urlAddrs(cmd.Context(), c)
	if err != nil {
		return "", err
	}
	host := hosts(c, addrs)[0]
	site := ""
	switch {
	case len(c.Listen.HTTPS) > 0:
		site = "https://" + hostPort(host, int(c.Listen.HTTPS[0].AddrPort().Port()), 443)
	case len(c.Listen.HTTP) > 0:
		site = "http://" + hostPort(host, int(c.Listen.HTTP[0].AddrPort().Port()), 80)
	default:
		return "", errors.New("listen.https and listen.http are off: there is no page to link to")
	}
	return joinLink(site, c.Signaling.Auth, tokens, claims)
}

// durationFlag is a duration as in the configuration file: 90s, 1h30m, 7d.
type durationFlag config.Duration

func (d *durationFlag) String() string { return config.Duration(*d).String() }
func (d *durationFlag) Type() string   { return "duration" }
func (d *durationFlag) Set(s string) error {
	var v config.Duration
	if err := v.UnmarshalText([]byte(s)); err != nil {
		return err
	}
	if v == 0 {
		return errors.New("want more than 0")
	}
	*d = durationFlag(v)
	return nil
}
