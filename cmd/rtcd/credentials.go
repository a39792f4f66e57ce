package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"rtcd/creds"
)

// minted is a credential with the URLs that it is for.
type minted struct {
	creds.Credential
	realm      string
	stun, turn []string
}

// formats are the ways to print a credential, by what will read it.
var formats = map[string]func(io.Writer, minted) error{
	"json": func(w io.Writer, m minted) error {
		return printJSON(w, map[string]any{
			"iceServers": iceServers(m.stun, m.turn, m.Credential),
			"ttl":        int(m.TTL.Seconds()),
			"expiresAt":  m.Expires.UTC().Format(time.RFC3339),
		})
	},
	"rest": func(w io.Writer, m minted) error {
		return printJSON(w, map[string]any{
			"username": m.Username, "password": m.Password, "ttl": int(m.TTL.Seconds()), "uris": m.turn,
		})
	},
	"env": func(w io.Writer, m minted) error {
		_, err := fmt.Fprintf(w, "TURN_URLS=%s\nTURN_USERNAME=%s\nTURN_CREDENTIAL=%s\nTURN_REALM=%s\n",
			shellQuote(strings.Join(m.turn, ",")), shellQuote(m.Username), shellQuote(m.Password), shellQuote(m.realm))
		return err
	},
	"trickle-ice": func(w io.Writer, m minted) error {
		var b strings.Builder
		b.WriteString("On https://webrtc.github.io/samples/src/content/peerconnection/trickle-ice/ remove the server\n" +
			"that is listed, fill in the three fields, press Add Server, once for each URI, then Gather candidates.\n\n")
		for _, uri := range m.turn {
			fmt.Fprintf(&b, "STUN or TURN URI:  %s\n", uri)
		}
		fmt.Fprintf(&b, "TURN username:     %s\nTURN password:     %s\n\n", m.Username, m.Password)
		paste, err := trickleICEServers(m)
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "Or paste this line into the console of that page:\n\n"+
			"localStorage.setItem('servers', %s); location.reload()\n\n"+
			"Good until %s. A line of type \"relay\" means that it works.\n", paste, m.Expires.Format("2006-01-02 15:04:05 MST"))
		_, err = io.WriteString(w, b.String())
		return err
	},
}

// trickleICEServers is the list of servers as that page keeps it: JSON in a
// JavaScript string.
func trickleICEServers(m minted) ([]byte, error) {
	type server struct {
		URLs       []string `json:"urls"`
		Username   string   `json:"username"`
		Credential string   `json:"credential"`
	}
	var list []server
	for _, uri := range m.turn {
		list = append(list, server{[]string{uri}, m.Username, m.Password})
	}
	inner, err := json.Marshal(list)
	if err != nil {
		return nil, err
	}
	return json.Marshal(string(inner))
}

func formatNames() string {
	var names []string
	for name := range formats {
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

func credentialsCommand() *cobra.Command {
	var flags configFlags
	var user, format string
	var ttl durationFlag
	var verify bool
	cmd := &cobra.Command{
		Use:   "credentials",
		Short: "Mint TURN credentials",
		Long: "Mint TURN credentials (TURN REST, as coturn's use-auth-secret). For programs that only take a\n" +
			"fixed pair give a long lifetime: rtcd credentials --user frigate --ttl 1825d",
		Args: func(cmd *cobra.Command, args []string) error {
			if verify && len(args) != 2 {
				return usageError{errors.New("--verify wants a username and a password")}
			} else if !verify {
				return noArgs(cmd, args)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			printer, ok := formats[format]
			if !ok {
				return usageError{fmt.Errorf("--format %s: want one of %s", format, formatNames())}
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
			keys, err := loadKeys(c)
			if err != nil {
				return err
			}
			if verify {
				return explainCredential(cmd.OutOrStdout(), keys, args[0], args[1], time.Now())
			}
			addrs, err := externals(cmd.Context(), c)
			if err != nil {
				return err
			}
			if ttl == 0 {
				ttl = durationFlag(c.Turn.CredentialTTL)
			}
			m := minted{Credential: keys.Issue(user, time.Duration(ttl), time.Now()), realm: realm(c)}
			m.stun, m.turn = iceURLs(c, configuredEndpoints(c), addrs)
			return printer(cmd.OutOrStdout(), m)
		},
	}
	flags.add(cmd)
	cmd.Flags().StringVar(&user, "user", "", "`name` that quotas count on (part after the colon)")
	cmd.Flags().Var(&ttl, "ttl", "how long they are valid (default turn.credential_ttl)")
	cmd.Flags().StringVar(&format, "format", "json", "one of "+formatNames())
	cmd.Flags().BoolVar(&verify, "verify", false, "tell why a pair (USERNAME PASSWORD) is admitted or refused, instead of minting")
	return cmd
}

// explainCredential tells what the server would think of a pair.
func explainCredential(w io.Writer, keys *creds.Keys, username, password string, now time.Time) error {
	login, match := keys.Verify(username, password, now)
	switch {
	case login.Verdict == creds.Malformed:
		_, _, err := creds.ParseUsername(username)
		return fmt.Errorf("refused: %w; want TEN-DIGIT-EXPIRY or TEN-DIGIT-EXPIRY:USER", err)
	case !match:
		return errors.New("refused: the password does not belong to this username; was it made with another secret?")
	case login.Verdict == creds.Revoked:
		return fmt.Errorf("refused: turn.revoked lists the user %q", login.User)
	case login.Verdict == creds.Expired:
		return fmt.Errorf("refused: expired at %s, %s ago", login.Expires.UTC().Format(time.RFC3339), now.Sub(login.Expires).Round(time.Second))
	}
	_, err := fmt.Fprintf(w, "ok: user %q, valid until %s\n", login.User, login.Expires.UTC().Format(time.RFC3339))
	return err
}

// shellQuote makes a value safe in a POSIX shell.
func shellQuote(s string) string {
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
