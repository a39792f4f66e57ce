package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"rtcd/accounting"
	"rtcd/config"
)

// accountingFlags are the question of `rtcd accounting`.
type accountingFlags struct {
	configFlags
	port                          uint16
	at, user, relay, client, file string
	asJSON                        bool
}

func accountingCommand() *cobra.Command {
	var f accountingFlags
	cmd := &cobra.Command{
		Use:   "accounting",
		Short: "Find in the relay's books who used a port at a time",
		Long: "Find in the relay's books (accounting.file) who relayed what. An abuse report names an address, a\n" +
			"port and a time: --port and --at find the allocation, its user and the client's address. All that\n" +
			"is given has to match; with nothing given every allocation is listed.\n\n" +
			"The books are JSON lines, for jq too: one record with event start, interim or stop, the same id for\n" +
			"all of an allocation. No rtcd needs to run.",
		Example: "  rtcd accounting --port 50123 --at '2026-01-02 15:04'\n" +
			"  rtcd accounting --user alice --json\n" +
			"  jq -c 'select(.event==\"stop\" and any(.relay[]; endswith(\":50123\")))' /var/lib/rtcd/accounting/*.jsonl",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	f.add(cmd)
	flags := cmd.Flags()
	flags.Uint16Var(&f.port, "port", 0, "`port` of the relayed address")
	flags.StringVar(&f.at, "at", "", "`time` in between start and stop: 2026-01-02T15:04:05Z, '2026-01-02 15:04' (here), or Unix seconds")
	flags.StringVar(&f.user, "user", "", "`name`: the user part of the TURN username, or the member's id or name")
	flags.StringVar(&f.relay, "relay", "", "relayed `address`, as peers saw it")
	flags.StringVar(&f.client, "client", "", "`address` of the client")
	flags.StringVar(&f.file, "file", "", "the newest `file` (default accounting.file)")
	flags.BoolVar(&f.asJSON, "json", false, "print JSON")
	return cmd
}

func (f *accountingFlags) run(cmd *cobra.Command) error {
	q, err := f.parse(time.Local)
	if err != nil {
		return usageError{err}
	}
	name, slack, err := f.books()
	if err != nil {
		return err
	}
	q.Slack = slack
	files, err := accounting.Files(name)
	if err != nil {
		return fmt.Errorf("no books: %w (see accounting.file)", err)
	}
	found, bad, err := accounting.Search(files, q)
	if err != nil {
		return err
	}
	if bad > 0 {
		fmt.Fprintf(cmd.ErrOrStderr(), "%d lines are no records and were passed over\n", bad)
	}
	if f.asJSON {
		if found == nil {
			found = []accounting.Life{}
		}
		return printJSON(cmd.OutOrStdout(), found)
	}
	if len(found) == 0 {
		return fmt.Errorf("nobody: no allocation of these books matches (%d files, the newest %s)", len(files), name)
	}
	t := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	printLives(t, found)
	return t.Flush()
}

func printLives(w io.Writer, found []accounting.Life) {
	fmt.Fprintln(w, "STARTED\tUNTIL\tUSER\tNAME\tROOMS\tCLIENT\tTRANSPORT\tRELAY\tSENT\tRECEIVED\tEND")
	for _, l := range found {
		end := "no stop is written"
		if l.Stopped {
			end = l.Reason
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%d\t%s\n",
			l.Started.Format(time.RFC3339), l.Time.Format(time.RFC3339), orDash(l.User), orDash(l.Name),
			orDash(strings.Join(l.Rooms, ",")), l.Client, l.Transport, relays(l.Relay), l.SentBytes, l.ReceivedBytes, end)
	}
}

// parse is the question that the flags ask.
func (f *accountingFlags) parse(here *time.Location) (q accounting.Question, err error) {
	q = accounting.Question{Port: f.port, User: f.user}
	for _, a := range []struct {
		name, text string
		into       *netip.Addr
	}{{"relay", f.relay, &q.Relay}, {"client", f.client, &q.Client}} {
		if a.text == "" {
			continue
		}
		if *a.into, err = netip.ParseAddr(a.text); err != nil {
			return q, fmt.Errorf("--%s: %q is not an IP address", a.name, a.text)
		}
	}
	if f.at == "" {
		return q, nil
	}
	if unix, err := strconv.ParseInt(f.at, 10, 64); err == nil {
		q.At = time.Unix(unix, 0)
		return q, nil
	}
	for _, layout := range []string{time.RFC3339, time.DateTime, "2006-01-02 15:04"} {
		if q.At, err = time.ParseInLocation(layout, f.at, here); err == nil {
			return q, nil
		}
	}
	return q, fmt.Errorf("--at: %q is not a time; write for example 2026-01-02T15:04:05Z or '2026-01-02 15:04'", f.at)
}

// books is the newest file, and how long after its last record an allocation without a
// stop may have lived. Root finds the books of the service too.
func (f *accountingFlags) books() (name string, slack time.Duration, err error) {
	c, err := f.load()
	if err != nil {
		return "", 0, err
	}
	slack = time.Duration(c.Accounting.Interim) + time.Minute
	if f.file != "" {
		return f.file, slack, nil
	}
	if name, err = booksFile(c); err != nil {
		return "", 0, err
	}
	if name == "" {
		return "", 0, errors.New("accounting.file is off: there are no books; give --file for older ones")
	}
	if c.Accounting.File == config.AccountingAuto {
		if _, err := accounting.Files(name); errors.Is(err, fs.ErrNotExist) {
			if service := filepath.Join(systemState, "accounting", "accounting.jsonl"); exists(service) {
				name = service
			}
		}
	}
	return name, slack, nil
}

func exists(name string) bool {
	_, err := accounting.Files(name)
	return err == nil
}
