// Package condition compiles conditions in CEL, evaluates them within limits, and says which field a condition that does not hold is
// about. It knows no names: who uses it says which there are.
package condition

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/ext"
)

// Limits of a condition.
const (
	MaxText = 4 << 10 // bytes
	MaxCost = 100_000 // of one evaluation, in CEL's own units: about one for each step

	maxNesting     = 50
	interruptEvery = 100 // steps
)

// Language has the names that conditions may have.
type Language struct{ env *cel.Env }

// New makes a language. objects are names of values with fields that are not known before, texts those of strings.
func New(objects, texts []string) (*Language, error) {
	options := []cel.EnvOption{
		cel.EnableMacroCallTracking(), cel.DefaultUTCTimeZone(true), cel.ParserExpressionSizeLimit(MaxText), cel.ParserRecursionLimit(maxNesting),
		cel.OptionalTypes(), ext.Strings(ext.StringsVersion(4)), ext.Sets(),
	}
	for _, name := range objects {
		options = append(options, cel.Variable(name, cel.DynType))
	}
	for _, name := range texts {
		options = append(options, cel.Variable(name, cel.StringType))
	}
	env, err := cel.NewEnv(options...)
	if err != nil {
		return nil, fmt.Errorf("make the language of conditions: %w", err)
	}
	return &Language{env: env}, nil
}

// Condition is one that was compiled.
type Condition struct {
	language *Language
	ast      *cel.Ast
	program  cel.Program
}

// Compile reads a condition. The error names the first mistake, with its line and column in text.
func (l *Language) Compile(text string) (*Condition, error) {
	if len(text) > MaxText {
		return nil, fmt.Errorf("it has %d bytes; at most %d", len(text), MaxText)
	}
	ast, issues := l.env.Compile(text)
	if issues.Err() != nil {
		first := issues.Errors()[0]
		message, _, _ := strings.Cut(first.Message, "\n")
		if first.Location.Line() < 1 {
			return nil, errors.New(message)
		}
		return nil, fmt.Errorf("line %d, column %d: %s", first.Location.Line(), first.Location.Column()+1, message)
	}
	if kind := ast.OutputType(); !kind.IsExactType(cel.BoolType) && !kind.IsExactType(cel.DynType) {
		return nil, fmt.Errorf("it is %s, and neither true nor false", kind)
	}
	program, err := l.env.Program(ast, cel.CostLimit(MaxCost), cel.InterruptCheckFrequency(interruptEvery))
	if err != nil {
		return nil, err
	}
	return &Condition{language: l, ast: ast, program: program}, nil
}

// ErrLimit means that an evaluation was ended: it cost too much, or its context was over.
var ErrLimit = errors.New("it was not finished")

// Holds evaluates the condition. Objects are what JSON has: map[string]any, []any, string, bool, numbers and nil. An error that is no
// ErrLimit is the condition's own: a field that is not there, or something else than true and false.
func (c *Condition) Holds(ctx context.Context, values map[string]any) (bool, error) {
	out, _, err := c.program.ContextEval(ctx, values)
	switch {
	case ctx.Err() != nil:
		return false, fmt.Errorf("%w: its time is over", ErrLimit)
	case err != nil && strings.Contains(err.Error(), "cost limit exceeded"):
		return false, fmt.Errorf("%w: it costs more than %d", ErrLimit, MaxCost)
	case err != nil:
		return false, err
	}
	holds, ok := out.Value().(bool)
	if !ok {
		return false, fmt.Errorf("it is %s, and neither true nor false", out.Type().TypeName())
	}
	return holds, nil
}

// Field is the path of what a condition is about that does not hold with these values, below the object called root:
// "spec.template.spec.containers[1].resources.limits". Empty: that cannot be told.
func (c *Condition) Field(ctx context.Context, root string, values map[string]any) string {
	x := explainer{ctx: ctx, env: c.language.env, info: c.ast.NativeRep().SourceInfo(), values: values, paths: map[string]path{root: {}}}
	found, _ := x.field(c.ast.NativeRep().Expr())
	return found.String()
}

// path is a field below an object.
type path []string

func (p path) String() string { return strings.TrimPrefix(strings.Join(p, ""), ".") }

func (p path) with(step string) path { return append(slices.Clone(p), step) }
