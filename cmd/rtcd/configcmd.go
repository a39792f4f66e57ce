package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"rtcd/config"
)

func configCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "config", Short: "Tell about the configuration", Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			return usageError{fmt.Errorf("want show, schema, env or doc")}
		},
	}
	cmd.AddCommand(configShowCommand(), configSchemaCommand(), configEnvCommand(), configDocCommand())
	return cmd
}

func configShowCommand() *cobra.Command {
	var flags configFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use: "show", Short: "Print every effective value and where it came from; secrets are masked", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := flags.load()
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), c.Rows())
			}
			t := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			for _, r := range c.Rows() {
				value := r.Value
				if value == "" {
					value = `""`
				}
				fmt.Fprintf(t, "%s\t%s\t%s\n", r.Path, value, r.From)
			}
			return t.Flush()
		},
	}
	flags.add(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func configSchemaCommand() *cobra.Command {
	return &cobra.Command{
		Use: "schema", Short: "Print the JSON schema of the configuration file", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			schema, err := config.Schema()
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s\n", schema)
			return err
		},
	}
}

func configEnvCommand() *cobra.Command {
	return &cobra.Command{
		Use: "env", Short: "Print the environment variable of every key", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c := config.Default()
			t := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			for _, f := range config.Fields(&c) {
				fmt.Fprintf(t, "%s\t%s\t%s\n", f.EnvName(), f.Path, f.Doc)
			}
			return t.Flush()
		},
	}
}

func configDocCommand() *cobra.Command {
	var language string
	cmd := &cobra.Command{
		Use: "doc", Short: "Print what every key means, as Markdown", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !slices.Contains(config.ReferenceLanguages, language) {
				return unknownWord("--lang", language, config.ReferenceLanguages)
			}
			return config.Reference(cmd.OutOrStdout(), language)
		},
	}
	cmd.Flags().StringVar(&language, "lang", "en", "language: "+strings.Join(config.ReferenceLanguages, " or "))
	return cmd
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}
