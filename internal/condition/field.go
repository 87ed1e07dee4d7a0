package condition

import (
	"context"
	"fmt"
	"maps"
	"regexp"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// explainer looks for the part of an expression that is to blame.
type explainer struct {
	ctx    context.Context //nolint:containedctx // of one call of Field
	env    *cel.Env
	info   *ast.SourceInfo
	values map[string]any
	paths  map[string]path // what a name stands for, where that is a field
}

// field is what an expression that does not hold is about.
func (x explainer) field(e ast.Expr) (path, bool) {
	if macro, ok := x.info.GetMacroCall(e.ID()); ok {
		if call := macro.AsCall(); call.FunctionName() == operators.All && len(call.Args()) == 2 {
			return x.element(call)
		}
		return x.path(e)
	}
	if e.Kind() != ast.CallKind {
		return x.path(e)
	}
	switch call := e.AsCall(); call.FunctionName() {
	case operators.LogicalAnd:
		for _, part := range call.Args() {
			if !x.holds(part) {
				return x.field(part)
			}
		}
	case operators.LogicalOr:
		for _, part := range call.Args() {
			if p, ok := x.field(part); ok {
				return p, true
			}
		}
	}
	return x.path(e)
}

// element is the first one of a list or map for which the condition of all does not hold.
func (x explainer) element(all ast.CallExpr) (path, bool) {
	base, ok := x.path(all.Target())
	over, err := x.eval(all.Target())
	items, iterable := over.(traits.Iterable)
	if !ok || err != nil || !iterable {
		return base, ok
	}
	name, within := all.Args()[0].AsIdent(), all.Args()[1]
	env, err := x.env.Extend(cel.Variable(name, cel.DynType))
	if err != nil {
		return base, true
	}
	i := 0
	for at := items.Iterator(); at.HasNext() == types.True; i++ {
		inner := x
		inner.env, inner.values, inner.paths = env, maps.Clone(x.values), maps.Clone(x.paths)
		item := at.Next()
		inner.values[name] = item
		if _, list := over.(traits.Lister); list {
			inner.paths[name] = base.with(fmt.Sprintf("[%d]", i))
		} else { // the keys of a map
			inner.paths[name] = base.with(step(fmt.Sprint(item.Value())))
		}
		if !inner.holds(within) {
			if p, ok := inner.field(within); ok {
				return p, true
			}
			return inner.paths[name], true
		}
	}
	return base, true
}

// path is the first field in an expression.
func (x explainer) path(e ast.Expr) (path, bool) {
	if macro, ok := x.info.GetMacroCall(e.ID()); ok {
		call := macro.AsCall()
		if call.IsMemberFunction() {
			return x.path(call.Target())
		}
		for _, arg := range call.Args() {
			if p, ok := x.path(arg); ok {
				return p, true
			}
		}
		return nil, false
	}
	switch e.Kind() {
	case ast.IdentKind:
		p, ok := x.paths[e.AsIdent()]
		return p, ok
	case ast.SelectKind:
		p, ok := x.path(e.AsSelect().Operand())
		return p.with(step(e.AsSelect().FieldName())), ok
	case ast.CallKind:
		return x.called(e.AsCall())
	default:
		return nil, false
	}
}

func (x explainer) called(call ast.CallExpr) (path, bool) {
	if call.IsMemberFunction() {
		if p, ok := x.path(call.Target()); ok {
			return p, true
		}
	}
	args := call.Args()
	switch call.FunctionName() {
	case operators.Index, operators.OptIndex, operators.OptSelect:
		if p, ok := x.path(args[0]); ok && len(args) == 2 && args[1].Kind() == ast.LiteralKind {
			return p.with(literal(args[1].AsLiteral())), true
		}
	}
	for _, arg := range args {
		if p, ok := x.path(arg); ok {
			return p, true
		}
	}
	return nil, false
}

func literal(v ref.Val) string {
	if s, ok := v.Value().(string); ok {
		return step(s)
	}
	return fmt.Sprintf("[%v]", v.Value())
}

// step is a field in a path.
func step(name string) string {
	if regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]*$`).MatchString(name) {
		return "." + name
	}
	return fmt.Sprintf("[%q]", name)
}

func (x explainer) holds(e ast.Expr) bool {
	v, err := x.eval(e)
	return err == nil && v == types.True
}

func (x explainer) eval(e ast.Expr) (ref.Val, error) {
	text, err := cel.ExprToString(e, x.info)
	if err != nil {
		return nil, err
	}
	part, issues := x.env.Compile(text)
	if issues.Err() != nil {
		return nil, issues.Err()
	}
	program, err := x.env.Program(part, cel.CostLimit(MaxCost), cel.InterruptCheckFrequency(interruptEvery))
	if err != nil {
		return nil, err
	}
	v, _, err := program.ContextEval(x.ctx, x.values)
	return v, err
}
