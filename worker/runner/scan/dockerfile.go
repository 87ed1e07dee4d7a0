package scan

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/frontend/dockerfile/command"
	"github.com/moby/buildkit/frontend/dockerfile/dockerfile2llb"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/slipway-build/slipway/internal/sarif"
	"github.com/slipway-build/slipway/worker/runner/sources"
)

const (
	ruleRoot     = "root-user"
	ruleSecret   = "SecretsUsedInArgOrEnv"
	maxLintLines = 1000
)

// dockerfile judges a Dockerfile by BuildKit's own rules, and by one of ours. It is not built, and no
// image is asked for.
func dockerfile(ctx context.Context, name string, data []byte, got *found) error {
	tree, err := parser.Parse(bytes.NewReader(data))
	if err == nil {
		var stages []instructions.Stage
		if stages, _, err = instructions.Parse(tree.AST, nil); err == nil && len(stages) == 0 {
			err = errors.New("it has no FROM")
		}
		if err == nil {
			got.findings = append(got.findings, rootUser(name, stages)...)
		}
	}
	if err != nil {
		return sources.Mistakef("%s: %v: expected a Dockerfile", located(name, err), err)
	}
	type warned struct {
		rule, text string
		line       int
	}
	var seen []warned // several stages and the whole are converted: each is warned of once
	warn := func(rule, _, url, text string, location []parser.Range) {
		w := warned{rule: rule, text: text}
		if len(location) > 0 {
			w.line = max(0, location[0].Start.Line)
		}
		if slices.Contains(seen, w) || len(seen) == maxLintLines {
			return
		}
		seen = append(seen, w)
		f := sarif.Finding{Rule: rule, Severity: sarif.Low, Path: name, Line: w.line, Message: text, Help: url, Fingerprint: sarif.Fingerprint(rule, name, strings.TrimSpace(sources.LineOf(data, w.line)))}
		if rule == ruleSecret {
			f.Severity = sarif.High
		}
		got.findings = append(got.findings, f)
	}
	if n := grown(tree.AST); n > maxGrown {
		got.note("%s: BuildKit's rules were not applied: its ARG and ENV make more than %d MiB of text", name, maxGrown>>20)
		return nil
	}
	_, err = dockerfile2llb.Dockerfile2LLB(ctx, data, dockerfile2llb.ConvertOpt{MetaResolver: noImages{}, Warn: warn, AllStages: true})
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil { // e.g. an image whose name is an argument without a default
		got.note("%s: not all rules could be applied: %v", located(name, err), err)
	}
	return nil
}

// maxGrown is how much text the variables of a Dockerfile may make.
const maxGrown = 4 << 20

// grown is at least how many bytes the lines of a Dockerfile have once its variables stand in them, where that is
// no more than a little over maxGrown: a few lines that each name the one before twice would take all memory.
func grown(ast *parser.Node) int {
	variable := regexp.MustCompile(`\$\{?([A-Za-z_][A-Za-z0-9_]*)`)
	assigned := regexp.MustCompile(`(?:^\s*\w+\s+|\s)([A-Za-z_][A-Za-z0-9_]*)[=\s]`)
	sizes := map[string]int{} // of variables, whatever the stage
	total := 0
	for _, line := range ast.Children {
		text := line.Original
		for _, h := range line.Heredocs {
			text += h.Content
		}
		n := len(text)
		for _, m := range variable.FindAllStringSubmatch(text, -1) {
			if n += sizes[m[1]]; n > maxGrown {
				return n
			}
		}
		if total += n; total > maxGrown {
			return total
		}
		if strings.EqualFold(line.Value, command.Env) || strings.EqualFold(line.Value, command.Arg) {
			for _, m := range assigned.FindAllStringSubmatch(text, -1) {
				sizes[m[1]] = max(sizes[m[1]], n)
			}
		}
	}
	return total
}

func located(name string, err error) string {
	var at *parser.LocationError
	if errors.As(err, &at) && len(at.Locations) > 0 && len(at.Locations[0]) > 0 {
		return fmt.Sprintf("%s:%d", name, at.Locations[0][0].Start.Line)
	}
	return name
}

// noImages answers every question about a base image with one that sets nothing.
type noImages struct{}

func (noImages) ResolveImageConfig(_ context.Context, ref string, opt sourceresolver.Opt) (string, digest.Digest, []byte, error) {
	platform := platforms.DefaultSpec()
	if opt.ImageOpt != nil && opt.ImageOpt.Platform != nil {
		platform = *opt.ImageOpt.Platform
	}
	data, err := json.Marshal(ocispecs.Image{Platform: platform})
	return ref, "", data, err
}

var _ llb.ImageMetaResolver = noImages{}

// rootUser: the image that comes of the last stage is run by root. A base image that says of itself
// that it is not is believed.
func rootUser(name string, stages []instructions.Stage) []sarif.Finding {
	last := stages[len(stages)-1]
	line := 0
	if len(last.Location) > 0 {
		line = last.Location[0].Start.Line
	}
	finding := func(line int, why string) []sarif.Finding {
		return []sarif.Finding{{
			Rule: ruleRoot, Severity: sarif.Medium, Path: name, Line: line, Message: why + ": its processes run as root; set USER to another one",
			Help: "https://docs.docker.com/reference/dockerfile/#user", Fingerprint: sarif.Fingerprint(ruleRoot, name),
		}}
	}
	for i := len(stages) - 1; i >= 0; {
		s := stages[i]
		for _, c := range slices.Backward(s.Commands) {
			user, ok := c.(*instructions.UserCommand)
			if !ok {
				continue
			}
			who, _, _ := strings.Cut(user.User, ":")
			if who != "root" && who != "0" {
				return nil
			}
			if i == len(stages)-1 && len(user.Location()) > 0 {
				line = user.Location()[0].Start.Line
			}
			return finding(line, "the last stage sets USER "+user.User)
		}
		base := strings.ToLower(s.BaseName)
		for _, word := range []string{"nonroot", "rootless", "unprivileged"} {
			if strings.Contains(base, word) {
				return nil
			}
		}
		parent := -1
		for j := range i {
			if strings.EqualFold(stages[j].Name, s.BaseName) && s.BaseName != "" {
				parent = j
			}
		}
		i = parent
	}
	return finding(line, "the last stage sets no USER")
}
