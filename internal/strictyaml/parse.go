package strictyaml

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
	"go.yaml.in/yaml/v4/plugin/loaderlimits"
)

// Parse reads one document and returns its root. It returns false, with the reason
// reported, if the document is not YAML, is empty, or exceeds the limits.
func Parse(path string, data []byte, limits Limits, report *Reporter) (Node, bool) {
	if len(data) > limits.Bytes {
		whole := Pos{src: &source{path: path}}
		report.Add(whole, "", "the file has %d bytes; at most %d are read", len(data), limits.Bytes)
		return Node{}, false
	}
	src := newSource(path, data)
	if i, message, suggestion := notText(data); message != "" {
		report.Add(src.at(i), suggestion, "%s", message)
		return Node{}, false
	}
	root, ok := load(src, limits, report)
	if !ok {
		return Node{}, false
	}
	c := counter{src: src, limits: limits, report: report, sizes: map[*yaml.Node]extent{}, open: map[*yaml.Node]bool{}}
	if c.count(root); c.failed {
		return Node{}, false
	}
	return Node{n: root, src: src, report: report}, true
}

// load reads the only document of a source.
func load(src *source, limits Limits, report *Reporter) (*yaml.Node, bool) {
	loader, err := yaml.NewLoader(bytes.NewReader(src.data), yaml.WithV4Defaults(),
		yaml.WithPlugin(loaderlimits.New(loaderlimits.DepthValue(limits.Depth), loaderlimits.AliasNone())))
	if err != nil {
		report.Add(src.at(0), "", "read YAML: %v", err)
		return nil, false
	}
	var document yaml.Node
	if err := loader.Load(&document); errors.Is(err, io.EOF) {
		report.Add(src.at(0), "", "the file is empty")
		return nil, false
	} else if err != nil {
		addSyntax(src, report, err)
		return nil, false
	}
	var second yaml.Node
	if err := loader.Load(&second); err == nil {
		report.Add(src.pos(max(second.Line, 1), max(second.Column, 1)),
			"remove it, or the \"---\" before it", "there is a second document")
		return nil, false
	} else if !errors.Is(err, io.EOF) {
		addSyntax(src, report, err)
		return nil, false
	}
	root := &document
	if root.Kind == yaml.DocumentNode && len(root.Content) == 1 {
		root = root.Content[0]
	}
	return root, true
}

// addSyntax reports what the YAML reader refused.
func addSyntax(src *source, report *Reporter, err error) {
	var at *yaml.LoadError
	if !errors.As(err, &at) {
		report.Add(src.at(0), "", "not YAML: %v", err)
		return
	}
	pos := Pos{src: src, Line: at.Mark.Line, Column: at.Mark.Column}
	if pos.Line < 1 {
		pos.Line, pos.Column = max(at.ContextMark.Line, 1), max(at.ContextMark.Column, 1)
	}
	pos.Line = min(pos.Line, len(src.lines))
	pos.Column = min(max(pos.Column, 1), utf8.RuneCountInString(src.line(pos.Line))+1)
	message := at.Message
	if at.ContextMsg != "" {
		message += " " + at.ContextMsg
	}
	suggestion := ""
	if line := src.line(pos.Line); len(line) > 0 && bytes.ContainsRune(leading(line), '\t') {
		suggestion = "indent with spaces: YAML does not allow tabs"
	}
	report.Add(pos, suggestion, "not YAML: %s", message)
}

// leading is the white space that a line begins with.
func leading(line string) []byte {
	i := 0
	for i < len(line) && (line[i] == ' ' || line[i] == '\t') {
		i++
	}
	return []byte(line[:i])
}

// notText finds the first bytes that YAML cannot contain, or that editors and YAML
// would not both take for the end of a line.
func notText(data []byte) (offset int, message, suggestion string) {
	for i := 0; i < len(data); {
		c := data[i]
		if c >= ' ' && c < utf8.RuneSelf || c == '\t' || c == '\n' {
			i++
			continue
		}
		r, size := utf8.DecodeRune(data[i:])
		switch {
		case r == '\r' && i+1 < len(data) && data[i+1] == '\n':
		case r == '\r' || r == '\u0085' || r == '\u2028' || r == '\u2029':
			return i, fmt.Sprintf("a line ends with %U", r), "end lines with a newline"
		case r < ' ':
			return i, fmt.Sprintf("a control character, %U", r), "remove it"
		case r == utf8.RuneError && size == 1:
			return i, fmt.Sprintf("byte 0x%02x is not UTF-8", c), "save the file as UTF-8"
		}
		i += size
	}
	return 0, "", ""
}

// extent is what a node expands to.
type extent struct{ nodes, depth int }

// counter measures the document with its aliases expanded, without expanding them.
type counter struct {
	src    *source
	limits Limits
	report *Reporter
	sizes  map[*yaml.Node]extent
	open   map[*yaml.Node]bool // ancestors: meeting one again is a cycle
	failed bool
}

func (c *counter) count(n *yaml.Node) extent {
	if done, ok := c.sizes[n]; ok || c.failed {
		return done
	}
	if c.open[n] {
		return c.fail(n, "remove the alias", "this anchor contains an alias of itself")
	}
	total := extent{nodes: 1, depth: 1}
	c.open[n] = true
	if n.Kind == yaml.AliasNode {
		total = c.count(n.Alias)
	}
	for _, child := range n.Content {
		e := c.count(child)
		total.nodes += e.nodes
		total.depth = max(total.depth, e.depth+1)
		if total.nodes > c.limits.Nodes {
			return c.fail(n, "", "more than %d keys and values, aliases expanded", c.limits.Nodes)
		}
	}
	delete(c.open, n)
	if total.depth > c.limits.Depth+1 { // a scalar in the deepest collection
		return c.fail(n, "", "nested deeper than %d, aliases expanded", c.limits.Depth)
	}
	c.sizes[n] = total
	return total
}

func (c *counter) fail(n *yaml.Node, suggestion, format string, args ...any) extent {
	if !c.failed {
		c.report.Add(c.src.pos(n.Line, n.Column), suggestion, format, args...)
	}
	c.failed = true
	return extent{}
}
