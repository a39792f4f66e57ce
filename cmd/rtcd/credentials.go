package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"rtcd/creds"
)

func credentialsCommand() *cobra.Command {
	var flags configFlags
	var user, format string
	var ttl durationFlag
	var verify bool
	cmd := &cobra.Command{
		Use:   "credentials",
		Short: "Mint TURN credentials",
		Long: "Mint TURN credentials (TURN REST, as coturn's use-auth-secret). For programs that only take a\n" +
			"fixed pair give a long lifetime: rtcd credentials --user frigate --ttl 1825d. Formats:\n\n" + formatList(),
		Args: func(cmd *cobra.Command, args []string) error {
			if verify && len(args) != 2 {
				return usageError{errors.New("--verify wants a username and a password")}
			} else if !verify {
				return noArgs(cmd, args)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			printer, ok := findFormat(format)
			if !ok {
				return unknownWord("--format", format, formatNames())
			}
			if user != "" {
				if err := creds.CheckUser(user); err != nil {
					return usageError{fmt.Errorf("--user: %w", err)}
				}
			}
			c, err := flags.load()
			if err != nil {
				return err
			}
			s, err := loadSecrets(c)
			if err != nil {
				return err
			}
			keys, err := s.keys(realm(c))
			if err != nil {
				return err
			}
			if verify {
				return explainCredential(cmd.OutOrStdout(), keys, len(s.turn), args[0], args[1], time.Now())
			}
			addrs, err := urlAddrs(cmd.Context(), c)
			if err != nil {
				return err
			}
			if ttl == 0 {
				ttl = durationFlag(c.Turn.CredentialTTL)
			}
			m := minted{Credential: keys.Issue(user, time.Duration(ttl), time.Now()), realm: realm(c), secret: s.turn[0]}
			m.stun, m.turn = iceURLs(c, configuredEndpoints(c), addrs)
			return printer(cmd.OutOrStdout(), m)
		},
	}
	flags.add(cmd)
	cmd.Flags().StringVar(&user, "user", "", "`name` that quotas count on (part after the colon)")
	cmd.Flags().Var(&ttl, "ttl", "how long they are valid (default turn.credential_ttl)")
	cmd.Flags().StringVar(&format, "format", "json", "one of the formats above")
	cmd.Flags().BoolVar(&verify, "verify", false, "tell why a pair (USERNAME PASSWORD) is admitted or refused, instead of minting")
	return cmd
}

// explainCredential tells what the server would think of a pair.
func explainCredential(w io.Writer, keys *creds.Keys, secrets int, username, password string, now time.Time) error {
	login, match := keys.Verify(username, password, now)
	switch {
	case login.Verdict == creds.Malformed:
		_, _, err := creds.ParseUsername(username)
		if hint := creds.Misshapen(username); hint != "" {
			return fmt.Errorf("refused: %w: %s", err, hint)
		}
		return fmt.Errorf("refused: %w; want TEN-DIGIT-EXPIRY or TEN-DIGIT-EXPIRY:USER", err)
	case !match:
		if hint := keys.Mistake(username, password); hint != "" {
			return fmt.Errorf("refused: the password does not belong to this username: %s", hint)
		}
		return errors.New("refused: the password does not belong to this username; was it made with another secret?")
	case login.Verdict == creds.Revoked:
		return fmt.Errorf("refused: turn.revoked lists the user %q", login.User)
	case login.Verdict == creds.Expired:
		return fmt.Errorf("refused: expired at %s, %s ago", login.Expires.UTC().Format(time.RFC3339), now.Sub(login.Expires).Round(time.Second))
	}
	signed := ""
	if n := keys.SignedBy(username, password); n > 1 {
		signed = fmt.Sprintf(", signed with secret %d of %d", n, secrets)
	}
	_, err := fmt.Fprintf(w, "ok: user %q, valid until %s%s\n", login.User, login.Expires.UTC().Format(time.RFC3339), signed)
	return err
}

// shellQuote makes a value safe in a POSIX shell.
func shellQuote(s string) string {
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
