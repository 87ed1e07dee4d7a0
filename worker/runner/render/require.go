package render

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/slipway-build/slipway/internal/cosign"
	"github.com/slipway-build/slipway/worker/runner"
)

// ErrRegistry means that a registry did not say what a policy needs to know: nobody's work said no.
var ErrRegistry = errors.New("registry not answering")

// maxResolved bounds the tags of one task that are replaced by what they mean.
const maxResolved = 100

// held is what comes of objects that are held against policies.
type held struct {
	warnings []string
	means    map[string]string // tag → digest, of those that were replaced
}

// use is a place in an object that names an image.
type use struct {
	o     *object
	field string
	at    map[string]any
	key   string
}

func (u use) image() string { s, _ := u.at[u.key].(string); return s }

// uses are all places in an object that name one: of its containers, wherever they lie, and of volumes that are images.
func uses(o *object) []use {
	var out []use
	var walk func(v any, field string)
	walk = func(v any, field string) {
		switch v := v.(type) {
		case map[string]any:
			for _, key := range sorted(v) {
				below := strings.TrimPrefix(field+"."+key, ".")
				list, _ := v[key].([]any)
				for i, item := range list {
					c, _ := item.(map[string]any)
					at := fmt.Sprintf("%s[%d].image", below, i)
					switch volume, _ := c["image"].(map[string]any); {
					case isText(c["image"]) && slices.Contains([]string{"containers", "initContainers", "ephemeralContainers"}, key):
						out = append(out, use{o, at, c, "image"})
					case isText(volume["reference"]) && key == "volumes":
						out = append(out, use{o, at + ".reference", volume, "reference"})
					}
				}
				walk(v[key], below)
			}
		case []any:
			for i, item := range v {
				walk(item, fmt.Sprintf("%s[%d]", field, i))
			}
		}
	}
	walk(o.fields, "")
	return out
}

func isText(v any) bool { _, ok := v.(string); return ok }

// requirer holds the images of objects against what policies require of them.
type requirer struct {
	registries Registries
	answers    map[string]answer // by question: one is put to a registry once

	means    map[string]string // what tags mean that are replaced
	warnings []string
	refused  []error
	unsaid   []error // what registries did not tell
}

// answer of a registry.
type answer struct {
	digest string
	doubts []string
	err    error
}

// require holds every image against the policies, in their order, and replaces tags where that is required. A refusal has the file, the
// object, the field, the rule and where that is said. ErrRegistry: what is not refused cannot be told.
func require(ctx context.Context, objects []object, work runner.Render, registries Registries) (held, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, registriesTime, errors.New("the registries did not answer in time"))
	defer cancel()
	q := &requirer{registries: registries, answers: map[string]answer{}, means: map[string]string{}}
	// What is signed is a digest, so tags are replaced before; and whether there are any is asked before that.
	for _, ask := range []func(context.Context, use, runner.Policy){q.pinned, q.resolved, q.signed} {
		for _, p := range work.Policies {
			for i := range objects {
				if len(p.Require) == 0 || len(p.Kinds) > 0 && !slices.Contains(p.Kinds, objects[i].kind()) {
					continue
				}
				for _, u := range uses(&objects[i]) {
					ask(ctx, u, p)
				}
			}
		}
	}
	if more := len(q.refused) - maxRefusals; more > 0 {
		q.refused = append(q.refused[:maxRefusals], fmt.Errorf("and %d more", more))
	}
	out := held{q.warnings, q.means}
	if len(q.refused) > 0 {
		return out, errors.Join(q.refused...)
	}
	return out, errors.Join(q.unsaid...)
}

// reference is the image of a place; nil: it is none, or the policy is not about it.
func reference(u use, p runner.Policy) name.Reference {
	ref, err := name.ParseReference(u.image())
	if err != nil || !covers(p.Images, ref.Context().Name()) {
		return nil
	}
	return ref
}

// pinned asks whether images are named by digest.
func (q *requirer) pinned(_ context.Context, u use, p runner.Policy) {
	if _, err := name.ParseReference(u.image()); err != nil {
		q.say(u, p, fmt.Sprintf("%q names no image: %v", u.image(), err), nil)
		return
	}
	if reference(u, p) != nil && slices.Contains(p.Require, runner.RequirePinned) && !strings.Contains(u.image(), "@") {
		q.say(u, p, fmt.Sprintf("%s is not named by digest, and what it means may change: write %s@sha256:…", u.image(), u.image()), nil)
	}
}

func signedThings(required []string) []cosign.Want {
	var out []cosign.Want
	for _, r := range required {
		if w, ok := map[string]cosign.Want{
			runner.RequireSignature: cosign.WantSignature, runner.RequireProvenance: cosign.WantProvenance, runner.RequireSBOM: cosign.WantSBOM,
		}[r]; ok {
			out = append(out, w)
		}
	}
	return out
}

// resolved replaces a tag by what it means, or asks whether it still means what the manifest says.
func (q *requirer) resolved(ctx context.Context, u use, p runner.Policy) {
	if reference(u, p) == nil || !slices.Contains(p.Require, runner.RequireResolved) {
		return
	}
	tagged, digest, pinned := strings.Cut(u.image(), "@")
	if pinned && tagged == repository(tagged) {
		return // there is no tag
	}
	a := q.ask("tag "+tagged, func() answer {
		digest, err := q.registries.resolve(ctx, tagged)
		return answer{digest: digest, err: err}
	})
	switch {
	case errors.Is(a.err, errNoTag):
		q.say(u, p, fmt.Sprintf("the registry has no %s", tagged), nil)
	case a.err != nil:
		q.say(u, p, "", a.err)
	case pinned && a.digest != digest:
		q.say(u, p, fmt.Sprintf("the tag has moved: %s is %s now, and the manifest says %s; write the new digest, or another tag", tagged, a.digest, digest), nil)
	case pinned:
	case len(q.means) >= maxResolved && q.means[tagged] == "":
		q.say(u, p, fmt.Sprintf("more than %d tags are resolved: name some of the images by digest", maxResolved), nil)
	default:
		q.means[tagged] = a.digest
		u.at[u.key] = tagged + "@" + a.digest
	}
}

// signed looks for what must be signed.
func (q *requirer) signed(ctx context.Context, u use, p runner.Policy) {
	wants, ref := signedThings(p.Require), reference(u, p)
	if ref == nil || len(wants) == 0 {
		return
	}
	if _, ok := ref.(name.Digest); !ok {
		q.say(u, p, fmt.Sprintf("%s is not named by digest, and only a digest can be signed: write %s@sha256:…, or require resolved as well", u.image(), u.image()), nil)
		return
	}
	full := ref.Context().Name() + "@" + ref.Identifier()
	a := q.ask(fmt.Sprint("signed ", full, wants, p.Keys), func() answer {
		doubts, err := q.registries.verify(ctx, full, wants, p.Keys)
		return answer{doubts: doubts, err: err}
	})
	if a.err != nil {
		q.say(u, p, "", a.err)
	}
	for _, doubt := range a.doubts {
		q.say(u, p, u.image()+": "+doubt, nil)
	}
}

func (q *requirer) ask(question string, put func() answer) answer {
	a, ok := q.answers[question]
	if !ok {
		a = put()
		q.answers[question] = a
	}
	return a
}

// say what is wrong, or what could not be told.
func (q *requirer) say(u use, p runner.Policy, reason string, unsaid error) {
	if unsaid != nil {
		reason = "it cannot be told: " + unsaid.Error()
	}
	if p.Message != "" {
		reason = fmt.Sprintf("%s [%s]", p.Message, reason)
	}
	text := verdict(*u.o, u.field, reason, p)
	switch {
	case p.Warn:
		q.warnings = append(q.warnings, text)
	case unsaid != nil:
		q.unsaid = append(q.unsaid, fmt.Errorf("%s: %w", text, ErrRegistry))
	default:
		q.refused = append(q.refused, errors.New(text))
	}
}

// covers says that patterns are about a repository; none: about all.
func covers(patterns []string, repository string) bool {
	if rest, ok := strings.CutPrefix(repository, name.DefaultRegistry+"/"); ok {
		repository = "docker.io/" + rest
	}
	parts := strings.Split(repository, "/")
	return len(patterns) == 0 || slices.ContainsFunc(patterns, func(pattern string) bool {
		wanted := strings.Split(pattern, "/")
		return len(wanted) <= len(parts) && matches(strings.Join(wanted, "/"), strings.Join(parts[:len(wanted)], "/"))
	})
}
