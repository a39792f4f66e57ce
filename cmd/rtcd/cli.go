package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"rtcd/config"
)

// Exit codes: scripts rely on them.
const (
	exitDone   = 0 // done, warnings too
	exitFailed = 1
	exitUsage  = 2 // wrong use of the command line
)

// usageError is an error of whoever typed the command.
type usageError struct{ error }

// errReported is returned when what failed has been told already.
var errReported = errors.New("reported")

// run is the whole program: arguments in, exit code out.
func run(args []string, stdout, stderr io.Writer) int {
	root := newRoot(stdout, stderr)
	root.SetArgs(args)
	cmd, err := root.ExecuteC()
	var usage usageError
	switch {
	case err == nil:
		return exitDone
	case errors.Is(err, errReported):
		return exitFailed
	case errors.As(err, &usage):
		fmt.Fprintf(stderr, "rtcd: %v\nSee '%s --help'.\n", err, cmd.CommandPath())
		return exitUsage
	}
	fmt.Fprintf(stderr, "rtcd: %v\n", err)
	return exitFailed
}

func newRoot(stdout, stderr io.Writer) *cobra.Command {
	root := &cobra.Command{
		Use:   "rtcd",
		Short: "STUN/TURN relay and WebSocket signaling hub in one process",
		Long: "rtcd makes WebRTC work outside the LAN: a STUN/TURN relay, a signaling hub that hands out\n" +
			"its time-limited credentials, and web pages that prove it works.\n\n" +
			"Start with 'rtcd serve': it needs no configuration and prints a link to try.",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			hint := ""
			if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
				hint = fmt.Sprintf("; did you mean %q?", near[0])
			}
			return usageError{fmt.Errorf("unknown command %q%s", args[0], hint)}
		},
		RunE: func(*cobra.Command, []string) error {
			return usageError{errors.New("want a command, like serve, init, check or probe")}
		},
	}
	root.SuggestionsMinimumDistance = 2
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(
		serveCommand(), initCommand(), checkCommand(), configCommand(),
		credentialsCommand(), tokenCommand(), probeCommand(), versionCommand(), manCommand(),
		portsCommand(), integrateCommand(),
	)
	root.AddCommand(accountingCommand())
	root.AddCommand(adminCommands()...)
	return root
}

// noArgs refuses arguments as wrong use.
func noArgs(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("unexpected argument %q", args[0])}
	}
	return nil
}

// defaultConfig is read when it is there and --config is not given.
const defaultConfig = "/etc/rtcd/config.yaml"

// configFlags are --config and --set, which every command with a configuration has.
type configFlags struct {
	file string
	set  []string
}

func (f *configFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.file, "config", "", "configuration `file` (default "+defaultConfig+" if it is there, else built-in defaults)")
	cmd.Flags().StringArrayVar(&f.set, "set", nil, "set one key, like turn.realm=example.org; wins over environment and file")
}

// path is the configuration file, "" for none.
func (f *configFlags) path() string {
	if f.file != "" {
		return f.file
	}
	if _, err := os.Stat(defaultConfig); err == nil {
		return defaultConfig
	}
	return ""
}

// load resolves the configuration in the same way for every command.
func (f *configFlags) load() (*config.Loaded, error) { return f.loadWith(f.path(), nil) }

// loadWith is load for a file whose contents are given, unless data is nil.
func (f *configFlags) loadWith(path string, data []byte) (*config.Loaded, error) {
	in := config.Input{File: path, Data: data, Environ: os.Environ()}
	for _, s := range f.set {
		key, value, ok := strings.Cut(s, "=")
		if !ok {
			return nil, usageError{fmt.Errorf("--set %s: want KEY=VALUE", key)}
		}
		in.Flags = append(in.Flags, config.Setting{Path: key, Text: value})
	}
	return config.Load(in)
}
