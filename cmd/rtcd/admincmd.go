package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"rtcd/config"
	"rtcd/signaling"
)

// adminCommands talk to a running rtcd.
func adminCommands() []*cobra.Command {
	return []*cobra.Command{
		statusCommand(), allocationsCommand(), roomsCommand(), disconnectCommand(),
		drainCommand(), reloadCommand(), logLevelCommand(),
	}
}

// adminFlags say which rtcd is meant, and how to print what it says.
type adminFlags struct {
	configFlags
	address   string
	tokenFile string
	asJSON    bool
}

func (f *adminFlags) add(cmd *cobra.Command) {
	f.configFlags.add(cmd)
	cmd.Flags().StringVar(&f.address, "admin", "", "`address` of the admin endpoint, host:port or unix:/path (default listen.admin)")
	cmd.Flags().StringVar(&f.tokenFile, "token-file", "", "`file` with the admin token (default admin.token in the state directory); a unix socket needs none")
	cmd.Flags().BoolVar(&f.asJSON, "json", false, "print JSON")
}

// systemState is the state directory of the systemd unit and the container.
const systemState = "/var/lib/rtcd"

// tokens are the admin tokens that can be read here: root finds its own and that of the
// service.
func (f *adminFlags) tokens() (tokens []string, err error) {
	if f.tokenFile != "" {
		return config.ReadSecrets(f.tokenFile)
	}
	names := []string{credential(adminTokenFile)}
	if dir, err := stateDir(); err == nil {
		names = append(names, filepath.Join(dir, adminTokenFile))
	}
	for _, name := range append(names, filepath.Join(systemState, adminTokenFile)) {
		if list, err := config.ReadSecrets(name); err == nil && !slices.Contains(tokens, list[0]) {
			tokens = append(tokens, list[0])
		}
	}
	if tokens == nil {
		tokens = []string{""} // the answer tells what is missing, or that nobody is there
	}
	return tokens, nil
}

// target is the address to talk to.
func (f *adminFlags) target() (config.Address, error) {
	if f.address != "" {
		var a config.Address
		if err := a.UnmarshalText([]byte(f.address)); err != nil {
			return "", usageError{fmt.Errorf("--admin: %w", err)}
		}
		return a, nil
	}
	if socket := runtimeSocket(); socket != "" && f.file == "" {
		return socket, nil
	}
	c, err := f.load()
	if err != nil {
		return "", err
	}
	if len(c.Listen.Admin) == 0 {
		return "", errors.New("listen.admin is off: there is nothing to talk to")
	}
	return c.Listen.Admin[0], nil
}

// call asks the admin endpoint and decodes its answer into out.
func (f *adminFlags) call(ctx context.Context, method, path string, in, out any) error {
	answer, err := f.answer(ctx, method, path, in, time.Minute)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	return decodeAnswer(answer, out)
}

// answer asks the admin endpoint; all of the answer has to come within limit, 0 = at
// any time.
func (f *adminFlags) answer(ctx context.Context, method, path string, in any, limit time.Duration) (*http.Response, error) {
	target, err := f.target()
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(in)
	if err != nil {
		return nil, err
	}
	tokens := []string{""}
	if _, unix := target.Unix(); !unix && method != http.MethodGet {
		if tokens, err = f.tokens(); err != nil {
			return nil, err
		}
	}
	client := adminClient(target)
	client.Timeout = limit
	for _, token := range tokens {
		answer, err := ask(ctx, client, method, path, token, body)
		if err != nil {
			return nil, fmt.Errorf("no rtcd answers at %s: %w", target, err)
		}
		if answer.StatusCode != http.StatusUnauthorized {
			return answer, nil
		}
		answer.Body.Close()
	}
	return nil, errors.New("the admin token does not match or cannot be read; give --token-file, run as the user " +
		"of rtcd, or use a unix socket (listen.admin: unix:/run/rtcd/admin.sock)")
}

// adminClient is for requests to one admin endpoint, each on a connection of its own.
func adminClient(target config.Address) *http.Client {
	network, address := "tcp", string(target)
	if file, unix := target.Unix(); unix {
		network, address = "unix", file
	}
	return &http.Client{Timeout: time.Minute, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, address)
		},
	}}
}

// ask sends one request; its error is the reason only.
func ask(ctx context.Context, c *http.Client, method, path, token string, body []byte) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, method, "http://localhost"+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := c.Do(r)
	var cause *url.Error
	if errors.As(err, &cause) {
		err = cause.Err
	}
	return answer, err
}

// decodeAnswer reads an answer, or the refusal that it is.
func decodeAnswer(answer *http.Response, out any) error {
	data, err := io.ReadAll(io.LimitReader(answer.Body, 256<<20))
	if err != nil {
		return err
	}
	if answer.StatusCode >= http.StatusBadRequest {
		var refusal struct{ Message string }
		if json.Unmarshal(data, &refusal) == nil && refusal.Message != "" {
			return errors.New(refusal.Message)
		}
		return fmt.Errorf("the admin endpoint says %s", answer.Status)
	}
	return json.Unmarshal(data, out)
}

// show asks with GET and prints the answer, as JSON or by table.
func show[T any](f *adminFlags, cmd *cobra.Command, path string, table func(io.Writer, T)) error {
	var out T
	if err := f.call(cmd.Context(), http.MethodGet, path, nil, &out); err != nil {
		return err
	}
	if f.asJSON {
		return printJSON(cmd.OutOrStdout(), out)
	}
	t := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	table(t, out)
	return t.Flush()
}

func statusCommand() *cobra.Command {
	var flags adminFlags
	cmd := &cobra.Command{
		Use: "status", Short: "Tell what a running rtcd does", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return show(&flags, cmd, "/api/v1/status", printStatus)
		},
	}
	flags.add(cmd)
	return cmd
}

func printStatus(w io.Writer, s adminStatus) {
	row := func(name, format string, args ...any) { fmt.Fprintf(w, "%s\t%s\n", name, fmt.Sprintf(format, args...)) }
	row("state", "%s", s.State)
	row("version", "%s, process %d", s.Version, s.PID)
	row("up", "%s", time.Since(s.Started).Round(time.Second))
	if s.Config != "" {
		row("config", "%s", s.Config)
	} else {
		row("config", "none, built-in defaults")
	}
	switch {
	case !s.Reload.OK:
		row("reload", "the last one was refused; see the log")
	case s.Reload.At != nil:
		row("reload", "%s", s.Reload.At.Format(time.RFC3339))
	}
	row("log level", "%s", s.LogLevel)
	for _, a := range s.Addresses {
		row("address", "%s (%s)", a.Public, a.Why)
	}
	if s.Discovery != nil {
		for _, c := range s.Discovery.Claims {
			row("asked", "%s says %s (%s)", c.By, c.Address, c.Source)
		}
		for _, reason := range s.Discovery.Silent {
			row("asked", "%s", reason)
		}
	}
	if m := s.PortMapping; m != nil && m.Router != "" {
		row("router", "%s has %s and forwards %d ports", m.Router, m.External, len(m.Mapped))
		for _, reason := range m.Refused {
			row("refused", "%s", reason)
		}
	} else if m != nil {
		row("router", "none forwards our ports: %s", m.Problem)
	}
	for _, n := range s.Notes {
		row("note", "%s", n)
	}
	if s.Degraded != "" {
		row("degraded", "%s", s.Degraded)
	}
	row("tls", "%s%s", s.TLS, until(s.Expires))
	for _, u := range s.SelfTest {
		row("url", "%s  %s", u.URL, u.State)
		if u.Problem != "" {
			row("", "  %s", u.Problem)
			row("", "  → %s", u.Remedy)
		}
		for _, n := range u.Notes {
			row("", "  note: %s", n)
		}
	}
	row("books", "%s", cmp.Or(s.Books, "none are kept (accounting.file)"))
	row("relay", "%d allocations, connections: %d tcp, %d tls, %d dtls", s.Allocations,
		s.Connections["tcp"], s.Connections["tls"], s.Connections["dtls"])
	row("hub", "%d rooms, %d members", s.Rooms, s.Members)
}

func until(t *time.Time) string {
	if t == nil {
		return ""
	}
	return ", until " + t.UTC().Format(time.DateOnly)
}

func allocationsCommand() *cobra.Command {
	var flags adminFlags
	cmd := &cobra.Command{
		Use: "allocations", Short: "List the live allocations of a running rtcd", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return show(&flags, cmd, "/api/v1/allocations", func(w io.Writer, list []adminAllocation) {
				fmt.Fprintln(w, "ID\tUSER\tCLIENT\tTRANSPORT\tRELAY\tAGE\tSENT\tRECEIVED")
				for _, a := range list {
					fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t%s\t%d\t%d\n", a.ID, orDash(a.User), a.Client, a.Transport,
						relays(a.Relays), time.Duration(a.Age*float64(time.Second)), a.SentBytes, a.ReceivedBytes)
				}
			})
		},
	}
	flags.add(cmd)
	return cmd
}

func relays(list []netip.AddrPort) string {
	out := make([]string, len(list))
	for i, a := range list {
		out[i] = a.String()
	}
	return strings.Join(out, ",")
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func roomsCommand() *cobra.Command {
	var flags adminFlags
	cmd := &cobra.Command{
		Use: "rooms", Short: "List the rooms of a running rtcd and who is in them", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return show(&flags, cmd, "/api/v1/rooms", func(w io.Writer, list []signaling.RoomInfo) {
				fmt.Fprintln(w, "TENANT\tROOM\tMEMBER\tUSER\tROLE\tSTATE")
				for _, r := range list {
					for _, m := range r.Members {
						state := "here"
						if m.Away {
							state = "away"
						}
						fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", orDash(r.Tenant), r.Room, m.Peer, orDash(m.User), orDash(m.Role), state)
					}
				}
			})
		},
	}
	flags.add(cmd)
	return cmd
}

func disconnectCommand() *cobra.Command {
	var flags adminFlags
	var want disconnectRequest
	cmd := &cobra.Command{
		Use:   "disconnect {USER | --allocation ID | --member PEER}",
		Short: "End allocations, or put a member out of the hub",
		Long: "End allocations, or put a member out of the hub. USER is the part of the TURN username after the\n" +
			"colon, as 'rtcd allocations' lists it; with --revoke its credentials stop working too. A member that\n" +
			"is put out loses its credentials and allocations.",
		Args: func(_ *cobra.Command, args []string) error {
			given := len(args)
			if want.Allocation != 0 {
				given++
			}
			if want.Member != "" {
				given++
			}
			if given != 1 || want.Revoke && len(args) == 0 {
				return usageError{errors.New("want one of USER, --allocation and --member; --revoke goes with USER")}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				want.User = args[0]
			}
			var did disconnected
			if err := flags.call(cmd.Context(), http.MethodPost, "/api/v1/disconnect", want, &did); err != nil {
				return err
			}
			if flags.asJSON {
				return printJSON(cmd.OutOrStdout(), did)
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "ended: %d allocations, %d members\n", did.Allocations, did.Members)
			return err
		},
	}
	flags.add(cmd)
	cmd.Flags().Uint64Var(&want.Allocation, "allocation", 0, "`number` of one allocation")
	cmd.Flags().StringVar(&want.Member, "member", "", "`id` of a member, as 'rtcd rooms' lists it")
	cmd.Flags().BoolVar(&want.Revoke, "revoke", false, "make the user's credentials worthless")
	return cmd
}

func drainCommand() *cobra.Command {
	var flags adminFlags
	cmd := &cobra.Command{
		Use: "drain", Short: "Let live allocations finish, take no new ones, then end, as on SIGTERM", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var left struct {
				Allocations int `json:"allocations"`
			}
			if err := flags.call(cmd.Context(), http.MethodPost, "/api/v1/drain", nil, &left); err != nil {
				return err
			}
			if flags.asJSON {
				return printJSON(cmd.OutOrStdout(), left)
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "draining: %d allocations are left\n", left.Allocations)
			return err
		},
	}
	flags.add(cmd)
	return cmd
}

func reloadCommand() *cobra.Command {
	var flags adminFlags
	cmd := &cobra.Command{
		Use: "reload", Short: "Have a running rtcd take its configuration anew, all of it or nothing",
		Long: "Have a running rtcd read its configuration, certificates and secrets anew, all of it or nothing, as\n" +
			"SIGHUP does. What needs a restart is named, and the old configuration stays.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var done struct {
				Changed []string `json:"changed"`
			}
			if err := flags.call(cmd.Context(), http.MethodPost, "/api/v1/reload", nil, &done); err != nil {
				return fmt.Errorf("not reloaded: %w", err)
			}
			if flags.asJSON {
				return printJSON(cmd.OutOrStdout(), done)
			}
			text := "reloaded, nothing has changed\n"
			if len(done.Changed) > 0 {
				text = "reloaded:\n  " + strings.Join(done.Changed, "\n  ") + "\n"
			}
			_, err := io.WriteString(cmd.OutOrStdout(), text)
			return err
		},
	}
	flags.add(cmd)
	return cmd
}

func logLevelCommand() *cobra.Command {
	var flags adminFlags
	cmd := &cobra.Command{
		Use: "loglevel [" + strings.Join(logLevels, "|") + "]", Short: "Tell or set the log level of a running rtcd",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usageError{fmt.Errorf("unexpected argument %q", args[1])}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			method, level := http.MethodGet, logLevelBody{}
			if len(args) == 1 {
				method, level.Level = http.MethodPut, args[0]
			}
			var now logLevelBody
			if err := flags.call(cmd.Context(), method, "/api/v1/loglevel", level, &now); err != nil {
				return err
			}
			if flags.asJSON {
				return printJSON(cmd.OutOrStdout(), now)
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), now.Level)
			return err
		},
	}
	flags.add(cmd)
	return cmd
}
