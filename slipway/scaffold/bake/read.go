package bake

import (
	"regexp"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/json"
	"github.com/zclconf/go-cty/cty"

	"github.com/slipway-build/slipway/internal/strictyaml"
)

// maxProblems that are told at once, and maxTargets that a matrix may make.
const (
	maxProblems = 100
	maxTargets  = 1000
)

// Names are those of the files that bake reads by itself, the later on top of the earlier.
func Names() []string {
	return []string{"docker-bake.json", "docker-bake.hcl", "docker-bake.override.json", "docker-bake.override.hcl"}
}

// File is one that defines targets. Without .json or .hcl at the end of its name, its content says which it is.
type File struct {
	Name string
	Data []byte
}

// Config of a Read.
type Config struct {
	Files []File
	Base  []Target // those that are there already, as those of a Compose file: targets of the same name go on top
	Env   func(name string) (string, bool)
}

// Value is a text and where it is written.
type Value struct {
	Text string
	At   strictyaml.Pos
}

// Secret is what a build finds as a file, and where bake takes it from: a variable of the environment, a file, or, with
// neither, one of the same name.
type Secret struct {
	ID        string
	Env, File string
	At        strictyaml.Pos
}

// Target is what bake builds, with all that it inherits.
type Target struct {
	Name       string
	At         strictyaml.Pos
	Context    string // a folder, from where bake runs, or an address
	Dockerfile string // from Context
	Stage      string
	Args       map[string]string
	Contexts   map[string]Value
	Secrets    []Secret
	Platforms  []Value
	Tags       []string // as far as they can be told
	SBOM       bool
	Provenance bool
	Left       []Value // further keys that are set
	Linked     bool    // no group has it: others are built upon it
}

// Definition is what files say.
type Definition struct {
	Targets []Target // that the default group has or needs, or all; in the order in which they are written
	Others  []Target // that are no part of it, as far as they can be read
	Env     []string // variables whose value is the environment's
	Kept    []string // variables of the environment that look like secrets, and were not read
}

// Read evaluates files. Its error is a strictyaml.Problems.
func Read(c Config) (*Definition, error) {
	d := &reader{
		report: strictyaml.NewReporter(maxProblems), env: c.Env, data: map[string][]byte{},
		variables: map[string]*variable{}, groups: map[string]*group{}, targets: map[string]*target{}, labels: map[string][]string{},
	}
	for i := range c.Base {
		d.add(&part{name: c.Base[i].Name, at: c.Base[i].At, base: &c.Base[i]})
	}
	for _, f := range c.Files {
		d.file(f)
	}
	for _, b := range d.blocks {
		d.expand(b)
	}
	if d.report.Count() > 0 {
		return nil, d.report.Problems()
	}
	out := d.choose()
	if d.report.Count() > 0 {
		return nil, d.report.Problems()
	}
	return out, nil
}

// reader has what files define.
type reader struct {
	report    *strictyaml.Reporter
	env       func(string) (string, bool)
	data      map[string][]byte
	variables map[string]*variable
	groups    map[string]*group
	blocks    []*hcl.Block
	targets   map[string]*target
	order     []string
	labels    map[string][]string // what blocks are called → the targets that they make, with a matrix or without
	open      []*hcl.Attribute    // that refer to each other, and are being evaluated
	steps     int
	fromEnv   []string
	kept      []string
}

// group is a list of targets and groups.
type group struct {
	members []Value
	at      strictyaml.Pos
}

// target is one name, which any number of blocks add to.
type target struct {
	name  string
	parts []*part
}

// part is one block of a target, and the values of its matrix.
type part struct {
	name  string
	at    strictyaml.Pos
	attrs hcl.Attributes
	local map[string]cty.Value
	base  *Target // in place of a block
}

func (d *reader) add(p *part) {
	t := d.targets[p.name]
	if t == nil {
		t = &target{name: p.name}
		d.targets[p.name] = t
		d.order = append(d.order, p.name)
	}
	t.parts = append(t.parts, p)
}

// file gathers the blocks of a file.
func (d *reader) file(f File) {
	d.data[f.Name] = f.Data
	parsed, diags := parse(f)
	if diags.HasErrors() {
		d.diagnose(diags)
		return
	}
	blocks := make([]hcl.BlockHeaderSchema, 0, 4)
	for _, kind := range []string{"variable", "function", "group", "target"} {
		blocks = append(blocks, hcl.BlockHeaderSchema{Type: kind, LabelNames: []string{"name"}})
	}
	content, rest, diags := parsed.Body.PartialContent(&hcl.BodySchema{Blocks: blocks})
	d.diagnose(diags)
	attrs, diags := rest.JustAttributes()
	for _, diag := range diags { // those of blocks that are known are not meant
		if s, ok := parsed.Body.(*hclsyntax.Body); !ok || !known(s, diag.Subject) {
			d.diagnose(hcl.Diagnostics{diag})
		}
	}
	for name, a := range attrs {
		d.variables[name] = &variable{value: a.Expr, at: d.pos(a.NameRange)}
	}
	for _, b := range content.Blocks {
		d.block(b)
	}
}

// known says that a block is one of the kinds that are read.
func known(body *hclsyntax.Body, at *hcl.Range) bool {
	for _, b := range body.Blocks {
		if at != nil && b.TypeRange == *at || at != nil && b.DefRange() == *at {
			return regexp.MustCompile(`^(variable|function|group|target)$`).MatchString(b.Type)
		}
	}
	return false
}

func parse(f File) (*hcl.File, hcl.Diagnostics) {
	text := strings.TrimSpace(string(f.Data))
	if strings.HasSuffix(f.Name, ".json") || !strings.HasSuffix(f.Name, ".hcl") && strings.HasPrefix(text, "{") {
		return json.Parse(f.Data, f.Name)
	}
	return hclsyntax.ParseConfig(f.Data, f.Name, hcl.InitialPos)
}

func (d *reader) block(b *hcl.Block) {
	name := b.Labels[0]
	switch b.Type {
	case "function":
		d.report.Add(d.pos(b.LabelRanges[0]), printHint, "the function %s is defined here, and functions of a file are not evaluated", strictyaml.Quote(name))
	case "variable":
		d.variable(name, b)
	case "group", "target":
		d.blocks = append(d.blocks, b)
	}
}

func schema(names ...string) *hcl.BodySchema {
	s := &hcl.BodySchema{}
	for _, n := range names {
		s.Attributes = append(s.Attributes, hcl.AttributeSchema{Name: n})
	}
	return s
}

func (d *reader) pos(r hcl.Range) strictyaml.Pos {
	return strictyaml.At(r.Filename, d.data[r.Filename], r.Start.Line, r.Start.Column)
}

// printHint is what helps where a file says more than is evaluated here.
const printHint = "let bake evaluate it: docker buildx bake --print | slipway init --bake -"

// diagnose reports what the library found.
func (d *reader) diagnose(diags hcl.Diagnostics) {
	for _, diag := range diags {
		if diag.Severity != hcl.DiagError {
			continue
		}
		at, hint := hcl.Range{}, ""
		if diag.Subject != nil {
			at = *diag.Subject
		}
		message := strings.TrimSuffix(strings.Join(strings.Fields(diag.Detail), " "), ".")
		if message == "" {
			message = diag.Summary
		}
		if extra, ok := hcl.DiagnosticExtra[hclsyntax.FunctionCallUnknownDiagExtra](diag); ok {
			message, hint = "the function "+strictyaml.Quote(extra.CalledFunctionName())+" is not evaluated here", printHint
		}
		d.report.Add(d.pos(at), hint, "%s", message)
	}
}
