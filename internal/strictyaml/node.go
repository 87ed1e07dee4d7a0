package strictyaml

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Node is a value in a document: a cursor that reads it and reports what is wrong
// with it. Aliases are followed; a mistake is reported where it is written.
type Node struct {
	n      *yaml.Node
	src    *source
	report *Reporter
	path   string // "services.api.path"; empty for the root
	key    Pos    // of the key of an entry; zero for the root and items of lists
}

// Key is the key of an entry of a mapping.
type Key struct {
	Text string
	Pos  Pos
}

// Fields says how each key of a mapping is read.
type Fields map[string]func(Node)

// Pos is where the value begins.
func (n Node) Pos() Pos { return n.src.pos(n.n.Line, n.n.Column) }

// KeyPos is where the key of an entry stands; for the root and for items of lists it
// is where the value begins.
func (n Node) KeyPos() Pos {
	if n.key.Line == 0 {
		return n.Pos()
	}
	return n.key
}

// Path is the way from the root to the value, as "services.api.path".
func (n Node) Path() string { return n.path }

// Problem reports a mistake in the value. The message names the value's path.
func (n Node) Problem(suggestion, format string, args ...any) {
	message := fmt.Sprintf(format, args...)
	if n.path != "" {
		message = n.path + ": " + message
	}
	n.report.Add(n.Pos(), suggestion, "%s", message)
}

// KeyProblem is Problem at the key of the value.
func (n Node) KeyProblem(suggestion, format string, args ...any) {
	message := fmt.Sprintf(format, args...)
	if n.path != "" {
		message = n.path + ": " + message
	}
	n.report.Add(n.KeyPos(), suggestion, "%s", message)
}

// Hide keeps the lines of a value out of every excerpt: it holds a secret.
func (n Node) Hide() {
	for i := range strings.Count(n.n.Value, "\n") + 1 {
		n.report.Hide(Pos{src: n.src, Line: n.n.Line + i})
	}
}

// IsNull says that nothing is written.
func (n Node) IsNull() bool {
	v := n.value()
	return v.Kind == yaml.ScalarNode && v.ShortTag() == "!!null"
}

// IsMap, IsList and IsScalar tell shapes apart where a key takes several.
func (n Node) IsMap() bool { return n.value().Kind == yaml.MappingNode }

// IsList says that the value is a list.
func (n Node) IsList() bool { return n.value().Kind == yaml.SequenceNode }

// IsScalar says that the value is neither a mapping nor a list.
func (n Node) IsScalar() bool { return n.value().Kind == yaml.ScalarNode }

// value is the node behind aliases. Parse has refused cycles.
func (n Node) value() *yaml.Node {
	v := n.n
	for v.Kind == yaml.AliasNode {
		v = v.Alias
	}
	return v
}

// child is a value below n.
func (n Node) child(v *yaml.Node, step string) Node {
	for v.Kind == yaml.AliasNode {
		v = v.Alias
	}
	path := step
	switch {
	case n.path == "":
	case strings.HasPrefix(step, "["):
		path = n.path + step
	default:
		path = n.path + "." + step
	}
	return Node{n: v, src: n.src, report: n.report, path: path}
}

// Fields reads a mapping with known keys, in the order in which they are written.
// Keys that the mapping does not have, that are written twice or whose value is
// missing are reported. what names the mapping in messages, as "service api".
func (n Node) Fields(what string, fields Fields, required ...string) {
	seen := map[string]bool{}
	ok := n.entries(what, func(key Key, v Node) {
		read, known := fields[key.Text]
		if !known {
			n.unknown(what, key, fields)
			return
		}
		seen[key.Text] = true
		if v.IsNull() {
			v.Problem("write one, or remove the key", "no value")
			return
		}
		read(v)
	})
	if !ok {
		return
	}
	for _, name := range required {
		if !seen[name] {
			n.report.Add(n.KeyPos(), "", "%s has no %q, which is required", what, name)
		}
	}
}

func (n Node) unknown(what string, key Key, fields Fields) {
	if n.report.Full() {
		n.report.Add(key.Pos, "", "unknown key")
		return
	}
	known := slices.Sorted(maps.Keys(fields))
	suggestion := Suggest(key.Text, known)
	if suggestion == "" {
		suggestion = "known keys: " + strings.Join(known, ", ")
	}
	n.report.Add(key.Pos, suggestion, "unknown key %s in %s", Quote(key.Text), what)
}

// Has reports a mapping in which a key is written; what merge keys add is not looked at.
func (n Node) Has(key string) bool {
	v := n.value()
	if v.Kind != yaml.MappingNode {
		return false
	}
	for i := 0; i+1 < len(v.Content); i += 2 {
		if v.Content[i].Value == key {
			return true
		}
	}
	return false
}

// Entries reads a mapping whose keys are names that the writer chose.
func (n Node) Entries(what string, each func(key Key, v Node)) { n.entries(what, each) }

// List reads a list.
func (n Node) List(each func(i int, v Node)) {
	v := n.value()
	if v.Kind != yaml.SequenceNode {
		suggestion := ""
		if v.Kind == yaml.ScalarNode && v.Value != "" && len(v.Value) <= nameLimit {
			suggestion = fmt.Sprintf("write [%s]", v.Value)
		}
		n.Problem(suggestion, "want a list, got %s", describe(v))
		return
	}
	for i, item := range v.Content {
		each(i, n.child(item, fmt.Sprintf("[%d]", i)))
	}
}

type entry struct {
	key   *yaml.Node
	value *yaml.Node
}

// entries calls each for every entry: its own ones in the order written, then those
// that merge keys add.
func (n Node) entries(what string, each func(key Key, v Node)) bool {
	v := n.value()
	if v.Kind != yaml.MappingNode {
		n.Problem("", "want a mapping for %s, got %s", what, describe(v))
		return false
	}
	var found []entry
	n.gather(v, map[string]*yaml.Node{}, &found)
	for _, e := range found {
		key := Key{Text: e.key.Value, Pos: n.src.pos(e.key.Line, e.key.Column)}
		item := n.child(e.value, key.Text)
		item.key = key.Pos
		each(key, item)
	}
	return true
}

// gather adds the entries of mapping v that are not there yet: what is written wins
// over what is merged, and an earlier merge over a later one.
func (n Node) gather(v *yaml.Node, have map[string]*yaml.Node, found *[]entry) {
	own := map[string]*yaml.Node{}
	var merges []*yaml.Node
	for i := 0; i+1 < len(v.Content); i += 2 {
		key := v.Content[i]
		for key.Kind == yaml.AliasNode {
			key = key.Alias
		}
		at := n.src.pos(v.Content[i].Line, v.Content[i].Column)
		switch {
		case key.Kind == yaml.ScalarNode && key.ShortTag() == "!!merge":
			merges = append(merges, v.Content[i+1])
		case key.Kind != yaml.ScalarNode || key.ShortTag() == "!!null" || key.Value == "":
			n.report.Add(at, "write a name", "a key must be a name, got %s", describe(key))
		case own[key.Value] != nil:
			n.report.Add(at, "remove one of them", "%s is written twice: first on line %d",
				Quote(key.Value), own[key.Value].Line)
		default:
			own[key.Value] = key
			if have[key.Value] == nil {
				have[key.Value] = key
				*found = append(*found, entry{key: key, value: v.Content[i+1]})
			}
		}
	}
	for _, m := range merges {
		n.merge(m, have, found)
	}
}

// merge adds what a merge key refers to: a mapping, or a list of mappings.
func (n Node) merge(m *yaml.Node, have map[string]*yaml.Node, found *[]entry) {
	target := m
	for target.Kind == yaml.AliasNode {
		target = target.Alias
	}
	switch target.Kind {
	case yaml.MappingNode:
		n.gather(target, have, found)
	case yaml.SequenceNode:
		for _, item := range target.Content {
			for item.Kind == yaml.AliasNode {
				item = item.Alias
			}
			if item.Kind != yaml.MappingNode {
				n.report.Add(n.src.pos(item.Line, item.Column), "",
					"a merge key needs mappings, got %s", describe(item))
				continue
			}
			n.gather(item, have, found)
		}
	default:
		n.report.Add(n.src.pos(m.Line, m.Column), "write an alias, as <<: *name",
			"a merge key needs a mapping, got %s", describe(target))
	}
}

// describe names what is there, for "want …, got …".
func describe(v *yaml.Node) string {
	switch v.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.ScalarNode:
	default:
		return "nothing"
	}
	switch v.ShortTag() {
	case "!!null":
		return "nothing"
	case "!!bool":
		return v.Value
	case "!!int", "!!float":
		return "the number " + Quote(v.Value)
	case "!!timestamp":
		return "the date " + Quote(v.Value)
	default:
		return Quote(v.Value)
	}
}
