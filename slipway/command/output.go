package command

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"sigs.k8s.io/yaml"
)

// format is the value of -o.
type format string

func outputFlag(c *cobra.Command, first string, more ...string) *format {
	f := format(first)
	all := append([]string{first}, more...)
	c.Flags().VarP(&formatValue{&f, all}, "output", "o", "one of "+strings.Join(all, ", "))
	_ = c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(all, cobra.ShellCompDirectiveNoFileComp)) // fails only for unknown flags
	return &f
}

type formatValue struct {
	to      *format
	allowed []string
}

func (v *formatValue) String() string { return string(*v.to) }
func (v *formatValue) Type() string   { return "format" }
func (v *formatValue) Set(s string) error {
	if !slices.Contains(v.allowed, s) {
		return fmt.Errorf("expected %s", strings.Join(v.allowed, ", "))
	}
	*v.to = format(s)
	return nil
}

// message prints an answer as JSON or YAML, with the names of the protocol.
func (a *app) message(f format, m proto.Message) error {
	data, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}
	return a.document(f, data)
}

// document prints JSON as JSON or YAML. Keys keep no order of their own: YAML sorts.
func (a *app) document(f format, data []byte) error {
	if f == "yaml" {
		out, err := yaml.JSONToYAML(data)
		if err != nil {
			return fmt.Errorf("encode the answer: %w", err)
		}
		return a.printf("%s", out)
	}
	var b bytes.Buffer
	if err := json.Indent(&b, bytes.TrimSpace(data), "", "  "); err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}
	return a.printf("%s\n", b.String())
}
