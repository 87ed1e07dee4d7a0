// Package strictyaml reads YAML that people write and reports every mistake in it
// at once, each with its position, the line it stands on and what to do about it.
//
// There are two ways in. [Decode] fills a Go struct by its yaml tags: enough for a
// configuration file. [Parse] returns a [Node], a cursor with which a package reads
// a language of its own: it declares the keys of each mapping with [Node.Fields], and
// everything undeclared, repeated, missing or of the wrong type is reported.
//
// Nothing is coerced and nothing is ignored: an unknown key, a second document and
// a number where a string belongs are mistakes. Anchors, aliases and merge keys
// work; what they expand to is counted before anything is read (see [Limits]).
// All work is linear in that count.
//
// The package knows no word of any domain, opens no file and writes no YAML.
package strictyaml

// Limits bound one document. Exceeding one is a Problem that names it.
type Limits struct {
	Bytes    int // size of the document
	Depth    int // nesting of mappings and lists, aliases expanded
	Nodes    int // keys and values, aliases expanded: what an alias bomb would exceed
	Problems int // mistakes that are kept; one more says that there were more
}

// DefaultLimits suit a file that people write by hand.
func DefaultLimits() Limits {
	return Limits{Bytes: 1 << 20, Depth: 32, Nodes: 250_000, Problems: 200}
}
