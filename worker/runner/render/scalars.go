package render

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// asKubernetes has plain words mean what kubectl, Helm and the API server read in them: they follow YAML 1.1, in which yes, on and y
// are true, and a date stays the text that it is.
func asKubernetes(n *yaml.Node) {
	for _, c := range n.Content {
		asKubernetes(c)
	}
	if n.Kind != yaml.ScalarNode || n.Style != 0 {
		return
	}
	word := n.Value
	if !slices.Contains([]string{strings.ToLower(word), strings.ToUpper(word), strings.ToUpper(word[:min(1, len(word))]) + strings.ToLower(word[min(1, len(word)):])}, word) {
		return
	}
	switch {
	case n.ShortTag() == "!!timestamp":
		n.Tag = "!!str"
	case slices.Contains([]string{"y", "yes", "on"}, strings.ToLower(word)):
		n.Tag, n.Value = "!!bool", "true"
	case slices.Contains([]string{"n", "no", "off"}, strings.ToLower(word)):
		n.Tag, n.Value = "!!bool", "false"
	}
}
