package adopt

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

var (
	errHidden = errors.New("not shown")
	errPath   = errors.New("its place cannot be read")
)

// notHere is the reason of a file that does not have the object.
const notHere = "is no such object"

// target is a field of an object.
type target struct {
	kind, name string
	path       []step
}

// step is one part of a path: a field, a place in a list, or the member of a list that has a field of that value.
type step struct {
	field string
	index int // -1: it is none
	value any // of the member's field; nil: the step is a field
}

var stepPattern = regexp.MustCompile(`^(?:\.?([^.\[\]]+)|\["((?:[^"\\]|\\.)*)"\]|\[(\d+)\]|\[([A-Za-z]+)=("(?:[^"\\]|\\.)*"|[^\]]+)\])`)

// parsePath reads a path as comparisons write it: spec.ports[port=80].name, metadata.annotations["example.com/by"], args[0].
func parsePath(text string) ([]step, error) {
	var out []step
	for text != "" {
		m := stepPattern.FindStringSubmatch(text)
		if m == nil {
			return nil, errPath
		}
		s := step{field: m[1], index: -1}
		switch {
		case m[2] != "":
			name, err := strconv.Unquote(`"` + m[2] + `"`)
			if err != nil {
				return nil, errPath
			}
			s.field = name
		case m[3] != "":
			n, err := strconv.Atoi(m[3])
			if err != nil {
				return nil, errPath
			}
			s.index = n
		case m[4] != "":
			v, err := parsed(m[5])
			if err != nil {
				return nil, errPath
			}
			s.field, s.value = m[4], v
		}
		out = append(out, s)
		text = text[len(m[0]):]
	}
	return out, nil
}

// edit writes a value where the other one is. The reason is empty when it did.
func edit(data []byte, t target, old, value any) (out []byte, reason string) {
	docs, err := documents(data)
	if err != nil {
		return nil, notHere
	}
	i := slices.IndexFunc(docs, t.is)
	if i < 0 {
		return nil, notHere
	}
	parent, at := walk(docs[i], t.path)
	if parent == nil || at == nil && len(t.path) > 0 && isAbsent(value) {
		return nil, "the field is not set: something else sets it"
	}
	if at != nil && (at.Kind == yaml.AliasNode || at.Anchor != "") || parent.Kind == yaml.AliasNode {
		return nil, "the field is shared by an anchor"
	}
	if !same(at, old) {
		have := "not there"
		if at != nil {
			have = "another value"
		}
		return nil, "the field is " + have + " than was released: something else sets it"
	}
	if out = replaced(data, at, value); out == nil {
		if !put(parent, at, t.path[len(t.path)-1], value) {
			return nil, "the value cannot be written there"
		}
		if out, err = encoded(docs); err != nil {
			return nil, "the value cannot be written there"
		}
	}
	// What was written is read again: a value that says something else than was meant is none.
	if docs, err = documents(out); err != nil || len(docs) <= i {
		return nil, "the value cannot be written there"
	}
	if _, at = walk(docs[i], t.path); !same(at, value) {
		return nil, "the value cannot be written there"
	}
	return out, ""
}

func isAbsent(v any) bool { _, is := v.(absent); return is }

func documents(data []byte) ([]*yaml.Node, error) {
	d := yaml.NewDecoder(bytes.NewReader(data))
	var out []*yaml.Node
	for {
		n := &yaml.Node{}
		err := d.Decode(n)
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		out = append(out, n)
	}
}

func (t target) is(doc *yaml.Node) bool {
	_, kind := walk(doc, []step{{field: "kind", index: -1}})
	_, name := walk(doc, []step{{field: "metadata", index: -1}, {field: "name", index: -1}})
	return kind != nil && name != nil && kind.Value == t.kind && name.Value == t.name
}

// walk answers the node at a path, nil if it is not there, and the one that it is or would be in, nil if that is not there either.
func walk(n *yaml.Node, path []step) (parent, at *yaml.Node) {
	if n.Kind == yaml.DocumentNode {
		if len(n.Content) == 0 {
			return nil, nil
		}
		n = n.Content[0]
	}
	at = n
	for _, s := range path {
		if parent = at; parent == nil {
			return nil, nil
		}
		at = child(parent, s)
	}
	return parent, at
}

func child(n *yaml.Node, s step) *yaml.Node {
	switch {
	case n.Kind == yaml.MappingNode && s.index < 0 && s.value == nil:
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == s.field {
				return n.Content[i+1]
			}
		}
	case n.Kind == yaml.SequenceNode && s.index >= 0 && s.index < len(n.Content):
		return n.Content[s.index]
	case n.Kind == yaml.SequenceNode && s.value != nil:
		for _, m := range n.Content {
			if m.Kind == yaml.MappingNode && same(child(m, step{field: s.field, index: -1}), s.value) {
				return m
			}
		}
	}
	return nil
}

// replaced is the text with another scalar in the place of one that stands on one line; nil: it is not as simple.
func replaced(data []byte, at *yaml.Node, value any) []byte {
	if at == nil || at.Kind != yaml.ScalarNode || at.Tag == "!!binary" {
		return nil
	}
	lines := bytes.SplitAfter(data, []byte("\n"))
	if at.Line < 1 || at.Line > len(lines) {
		return nil
	}
	line := []rune(string(lines[at.Line-1]))
	if at.Column < 1 || at.Column > len(line) {
		return nil
	}
	rest := string(line[at.Column-1:])
	token := at.Value
	if quoted := regexp.MustCompile(`^("(?:[^"\\]|\\.)*"|'(?:[^']|'')*')`).FindString(rest); quoted != "" {
		token = quoted
	}
	var have string
	if token == "" || !strings.HasPrefix(rest, token) || yaml.Unmarshal([]byte(token), &have) != nil || have != at.Value {
		return nil
	}
	text := scalar(value, token)
	if text == "" {
		return nil
	}
	lines[at.Line-1] = []byte(string(line[:at.Column-1]) + text + strings.TrimPrefix(rest, token))
	return bytes.Join(lines, nil)
}

// scalar is a value as it is written on one line in the way of another; empty: it is none.
func scalar(value any, like string) string {
	switch v := value.(type) {
	case string:
		text, err := json.Marshal(v)
		if err != nil {
			return ""
		}
		plain, err := yaml.Marshal(v)
		line := strings.TrimSuffix(string(plain), "\n")
		switch {
		case strings.HasPrefix(like, `"`), err != nil, strings.Contains(line, "\n"), strings.ContainsAny(line, ",[]{}#"):
			return string(text)
		case strings.HasPrefix(like, "'") && !strings.ContainsFunc(v, func(r rune) bool { return r < ' ' }):
			return "'" + strings.ReplaceAll(v, "'", "''") + "'"
		}
		return line
	case json.Number, bool:
		return fmt.Sprint(v)
	}
	return ""
}

// put changes the tree: sets, adds or removes what is at a step of parent.
func put(parent, at *yaml.Node, s step, value any) bool {
	if isAbsent(value) {
		i := slices.Index(parent.Content, at)
		if i < 0 {
			return false
		}
		first := i
		if parent.Kind == yaml.MappingNode {
			first--
		}
		parent.Content = slices.Delete(parent.Content, first, i+1)
		return true
	}
	text, err := json.Marshal(value)
	if err != nil {
		return false
	}
	var doc yaml.Node // JSON is YAML, and keeps the order of nobody
	if yaml.Unmarshal(text, &doc) != nil || len(doc.Content) != 1 {
		return false
	}
	node := doc.Content[0]
	block(node)
	switch {
	case at != nil:
		node.HeadComment, node.LineComment, node.FootComment = at.HeadComment, at.LineComment, at.FootComment
		*at = *node
	case parent.Kind == yaml.MappingNode && s.index < 0 && s.value == nil:
		parent.Content = append(parent.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: s.field}, node)
	case parent.Kind == yaml.SequenceNode && (s.value != nil || s.index == len(parent.Content)):
		parent.Content = append(parent.Content, node)
	default:
		return false
	}
	return true
}

// block takes the style of JSON away.
func block(n *yaml.Node) {
	n.Style = 0
	for _, c := range n.Content {
		block(c)
	}
}

func encoded(docs []*yaml.Node) ([]byte, error) {
	var out bytes.Buffer
	e := yaml.NewEncoder(&out)
	e.SetIndent(2)
	for _, d := range docs {
		if err := e.Encode(d); err != nil {
			return nil, err
		}
	}
	err := e.Close()
	return out.Bytes(), err
}
