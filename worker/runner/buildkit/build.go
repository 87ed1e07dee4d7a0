package buildkit

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/distribution/reference"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	gateway "github.com/moby/buildkit/frontend/gateway/client"

	"github.com/slipway-build/slipway/worker/runner"
)

// Epoch is the time that every file and image of a build carries, so that equal
// inputs make equal digests. 1980 and not 1970: zip files begin there.
const Epoch = 315532800

// Compressions of the layers that a build makes; those of its base image stay as they are.
const (
	CompressionZstd = "zstd"
	CompressionGzip = "gzip"
)

// attrNoCache has the frontend take nothing from a cache.
const attrNoCache = "no-cache"

// Builder is the runner of build tasks.
type Builder struct {
	client *Client
	cache  *Cache
}

// NewBuilder makes the runner of build tasks.
func NewBuilder(c *Client) *Builder { return &Builder{client: c} }

// With has it take steps from a cache, and leave them there, beside what the daemon itself has. Nil: from none.
func (b *Builder) With(cache *Cache) *Builder { return &Builder{client: b.client, cache: cache} }

// Run builds the image and pushes it by digest.
func (b *Builder) Run(ctx context.Context, t runner.Task, r runner.Report) runner.Outcome {
	work, ok := t.Work.(runner.Build)
	if !ok {
		return runner.Err("task %s is no build but %T", t.ID, t.Work)
	}
	opt, err := b.client.options(t, work)
	if err != nil {
		return runner.Err("%v", err)
	}
	src, bad := readDockerfile(t.Workspace, t.Commit, work)
	if bad != nil {
		return *bad
	}
	opt.FrontendAttrs = attributes(src, work)
	if work.Provenance {
		opt.FrontendAttrs["attest:provenance"] = "mode=max,version=v1,builder-id=" + runner.BuilderID
	}
	opt.Exports = b.client.exports(work)

	r.Started()
	w := NewWatch(r, t.Mask)
	uses := b.cache.uses(ctx, t, work)
	resp, err := b.cache.solve(ctx, b.client, opt, w, &uses, func(ctx context.Context, gw gateway.Client, attrs map[string]string) {
		if !work.Provenance {
			return
		}
		if made := homemade(ctx, gw, src, work); len(made) > 0 {
			attrs[attrHomemade] = strings.Join(made, ",")
		}
	})
	if err != nil {
		return Classify(ctx, err, w, b.client.Where(work))
	}
	b.cache.built(t, work, opt.FrontendAttrs, w, uses)
	o := runner.Outcome{Kind: runner.Succeeded, Message: "built", Steps: w.Steps()}
	if work.Push == "" {
		return o
	}
	begin := time.Now()
	watched, end := b.client.watched(ctx)
	d, err := b.client.imageDigest(watched, work.Push, resp)
	if err = end(err); err != nil {
		if i, ok := runner.Interrupted(ctx); ok {
			return i
		}
		return runner.Err("the image was pushed to %s, but its digest could not be read back: %v", work.Push, err)
	}
	o.Result.Image, o.Result.Index = work.Push+"@"+d.image, work.Push+"@"+d.pushed
	o.Message = "pushed " + o.Result.Image
	o.Steps = append(o.Steps, runner.Step{
		Name: "read image digest", Kind: "push", Started: begin, Finished: time.Now(),
		Attributes: map[string]string{"image": o.Result.Image, "index": o.Result.Index},
	})
	return o
}

// Where says what was being built, for messages.
func (c *Client) Where(b runner.Build) Where {
	return Where{Daemon: c.cfg.Address, Dockerfile: b.Dockerfile, Context: b.Context, Push: b.Push, Paths: b.Paths}
}

// exports says where the result goes: to the registry by digest, or nowhere.
func (c *Client) exports(b runner.Build) []client.ExportEntry {
	if b.Push == "" {
		return nil
	}
	attrs := map[string]string{
		"name":              b.Push,
		"push":              "true",
		"push-by-digest":    "true",
		"name-canonical":    "true",
		"store":             "false",
		"rewrite-timestamp": "true",
		"oci-mediatypes":    "true",
		"compression":       cmp.Or(c.cfg.Compression, CompressionZstd),
		// The attestation names the image as its subject, so that it is found by the
		// image's own digest, which does not change when nothing changed.
		"oci-artifact": "true",
	}
	if c.insecure(b.Push) {
		attrs["registry.insecure"] = "true"
	}
	return []client.ExportEntry{{Type: client.ExporterImage, Attrs: attrs}}
}

// Frontend makes the attributes of the Dockerfile frontend. What the user must
// mend is answered as an outcome.
func Frontend(workspace, commit string, b runner.Build) (map[string]string, *runner.Outcome) {
	src, bad := readDockerfile(workspace, commit, b)
	if bad != nil {
		return nil, bad
	}
	return attributes(src, b), nil
}

func attributes(src []byte, b runner.Build) map[string]string {
	attrs := map[string]string{
		"filename":                    path.Clean(b.Dockerfile),
		"build-arg:SOURCE_DATE_EPOCH": strconv.Itoa(Epoch),
	}
	if b.Target != "" {
		attrs["target"] = b.Target
	}
	if b.Platform != "" {
		attrs["platform"] = b.Platform
	}
	if b.Fresh {
		attrs[attrNoCache] = "" // of all stages
	}
	for k, v := range b.Args {
		if k != argSyntax || !b.Untrusted {
			attrs["build-arg:"+k] = v
		}
	}
	for name, image := range b.Contexts {
		attrs["context:"+name] = "docker-image://" + image
	}
	for image, digest := range b.Bases {
		if name, err := reference.ParseNormalizedNamed(image); err == nil {
			attrs["context:"+strings.TrimSuffix(reference.FamiliarString(name), ":latest")] = "docker-image://" + image + "@" + digest
		}
	}
	// For the daemon this says that a frontend was chosen: it looks for no other one.
	if ref, _, _, ok := parser.DetectSyntax(src); ok && own(ref) || b.Untrusted {
		attrs["cmdline"] = "dockerfile.v0"
	}
	return attrs
}

func readDockerfile(workspace, commit string, b runner.Build) ([]byte, *runner.Outcome) {
	name := path.Clean(b.Dockerfile)
	fail := func(format string, a ...any) ([]byte, *runner.Outcome) {
		o := runner.Fail(format, a...)
		return nil, &o
	}
	if !fs.ValidPath(name) || name == "." {
		return fail("Dockerfile %q is no path within the repository: name it relative to the repository's root", b.Dockerfile)
	}
	root, err := os.OpenRoot(workspace)
	if err != nil {
		o := runner.Err("open workspace: %v", err)
		return nil, &o
	}
	defer func() { _ = root.Close() }()
	info, err := root.Stat(name)
	switch {
	case os.IsNotExist(err):
		return fail("%s does not exist at commit %s: a service is built from the Dockerfile in its path; add one, "+
			"or name another with build.dockerfile in slipway.yaml (build context: %s)", name, short(commit), strings.Join(b.Paths, ", "))
	case err != nil:
		return fail("%s cannot be read: %v", name, err)
	case !info.Mode().IsRegular():
		return fail("%s is no file (%s): expected a Dockerfile", name, info.Mode().Type())
	case info.Size() == 0:
		return fail("%s is empty: a Dockerfile needs at least a FROM instruction", name)
	}
	data, err := root.ReadFile(name)
	if err != nil {
		return fail("%s cannot be read: %v", name, err)
	}
	return data, foreign(name, data, b)
}

func short(commit string) string {
	if len(commit) > 12 {
		return commit[:12]
	}
	return commit
}

// digests of a pushed image: of what a node runs, and of what was pushed, which is an
// index when there is an attestation beside the image.
type digests struct{ image, pushed string }

func (d digests) String() string { return fmt.Sprintf("image %s, pushed as %s", d.image, d.pushed) }
