// Package submit turns a request into a plan: it fetches the commit, reads its files,
// asks what is known by digest and whether it is still there, and has planner decide.
// It also turns a plan into a run. What a plan means is planner's business.
package submit

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/slipway-build/slipway/coordinator/artifact"
	"github.com/slipway-build/slipway/coordinator/partition"
	"github.com/slipway-build/slipway/coordinator/pipeline"
	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/planner"
	"github.com/slipway-build/slipway/coordinator/run"
	"github.com/slipway-build/slipway/coordinator/source"
	"github.com/slipway-build/slipway/internal/failpoint"
)

// ProblemsError is every mistake of a repository's or the platform's files.
type ProblemsError struct{ Problems pipeline.Problems }

func (e *ProblemsError) Error() string { return e.Problems.Error() }

// ErrRegistry: whether images are still there cannot be told.
var ErrRegistry = errors.New("registry unreachable")

// Images tells whether an image is still in its registry.
type Images interface {
	Exists(ctx context.Context, ref string) (bool, error)
}

// Config of a Submitter.
type Config struct {
	Mirror *source.Mirror
	// Home is what the owner of a project knows, wherever that is.
	Home   func(ctx context.Context, project string) (Home, error)
	Blobs  *artifact.Store
	Images Images
	// Artifacts are those of tests.
	Artifacts Artifacts
	// Bases may be nil: then a tag that moves is no change.
	Bases Bases
	// Advisories answers the digest of the blob that packages are compared with; nil: there are none.
	Advisories func(ctx context.Context) (digest string, err error)
	// TargetsFile is the platform team's file, or a folder with one for each project, named
	// PROJECT.yaml; read anew for each plan. Empty: nothing is deployed.
	TargetsFile string
	Key         string // which key signs images; empty: nothing is signed
	PublicKey   string // what verifies them, in PEM
	Registry    string // where services push that do not say otherwise
	Platform    string
	Runner      string // version of what builds, tests and renders
}

// Home is the partition of a project, as far as making a run needs it.
type Home interface {
	// Replayed answers the run that an idempotency key began; partition.ErrNotFound: none.
	Replayed(ctx context.Context, project, key, requestHash string) (run string, err error)
	// Green is the last commit of a ref whose run succeeded; empty: none.
	Green(ctx context.Context, project, ref string) (string, error)
	// Known answers the results of those digests that have one, and why others have none any more.
	// Those that were forgotten since a time are among the latter even if something was made of them again.
	Known(ctx context.Context, project string, digests []string, since time.Time) (known map[string]plan.Reuse, forgotten map[string]string, err error)
	// History answers what runs have taught about those tests that there is something to say of.
	History(ctx context.Context, project string, tests []string) (map[string]planner.History, error)
	// Accept makes a run of a plan, whose bytes are stored.
	Accept(ctx context.Context, a Acceptance) (run string, replayed bool, err error)
}

// Acceptance is a stored plan that is to become a run.
type Acceptance struct {
	Project     string
	PlanHash    string
	SubmittedBy string
	Origin      run.Origin
	Key         string // idempotency key; never empty
	RequestHash string
	// Retries is the run that this one tries again; empty: none. It is refused where a newer
	// run has begun a rollout.
	Retries string
}

// Submitter makes plans and runs.
type Submitter struct{ cfg Config }

// New makes a Submitter.
func New(cfg Config) *Submitter { return &Submitter{cfg: cfg} }

// Request is what somebody wants to run.
type Request struct {
	Repository string
	Ref        string
	Dirty      bool
	NoReuse    bool
	Diff       bool   // build, render and compare with the targets, instead of a release
	Adopt      bool   // take over what others made at the targets; never of a webhook's
	Untrusted  bool   // a stranger's commit, as that of a fork: its tasks get no secrets, and what it built is not for others
	Key        string // idempotency key
	By         string // who asks
	Event      *Event // what began it; nil: somebody asked
	Origin     run.Origin
}

// hash of everything that a repeat must have in common.
func (r Request) hash() string {
	h := sha256.New()
	fmt.Fprintf(h, "%q %q %t %t %q", r.Repository, r.Ref, r.Dirty, r.NoReuse, r.By)
	if r.Untrusted {
		fmt.Fprint(h, " untrusted")
	}
	if r.Adopt {
		fmt.Fprint(h, " adopt")
	}
	if r.Diff {
		fmt.Fprint(h, " diff")
	}
	if e := r.Event; e != nil {
		fmt.Fprintf(h, " %q %q %q", e.Kind, e.Branch, e.Commit)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Plan makes the plan of a request with its bytes and hash, and changes nothing but the
// mirror.
func (s *Submitter) Plan(ctx context.Context, req Request) (p plan.Plan, data []byte, hash string, err error) {
	in, home, err := s.input(ctx, req)
	if err != nil {
		return plan.Plan{}, nil, "", err
	}
	return s.plan(ctx, in, home, req)
}

func (s *Submitter) plan(ctx context.Context, in planner.Input, home Home, req Request) (p plan.Plan, data []byte, hash string, err error) {
	g, inner := errgroup.WithContext(ctx) // each fills fields of its own
	g.Go(func() error { return s.base(inner, home, &in, req) })
	g.Go(func() error { return s.stands(inner, &in) })
	g.Go(func() error { return s.history(inner, home, &in) })
	if err := g.Wait(); err != nil {
		return plan.Plan{}, nil, "", err
	}
	p, err = s.decide(ctx, home, in)
	if err != nil {
		return plan.Plan{}, nil, "", err
	}
	if data, err = plan.Encode(p); err != nil {
		return plan.Plan{}, nil, "", err
	}
	return p, data, plan.Sum(data), nil
}

// Submit makes a plan and accepts it as a run. replayed: the key began it before.
func (s *Submitter) Submit(ctx context.Context, req Request) (id string, replayed bool, err error) {
	if req.Key == "" { // so that asking the owner twice is harmless
		req.Key = "none-" + rand.Text()
	}
	in, home, err := s.input(ctx, req)
	if err != nil {
		return "", false, err
	}
	id, err = home.Replayed(ctx, in.Pipeline.Project, req.Key, req.hash())
	if !errors.Is(err, partition.ErrNotFound) {
		return id, err == nil, err
	}
	p, data, hash, err := s.plan(ctx, in, home, req)
	if err != nil {
		return "", false, err
	}
	failpoint.Hit(failpoint.SubmitPlanned)
	if _, err := s.cfg.Blobs.Put(ctx, data); err != nil {
		return "", false, err
	}
	failpoint.Hit(failpoint.SubmitStored)
	id, replayed, err = home.Accept(ctx, Acceptance{Project: p.Project, PlanHash: hash, SubmittedBy: req.By, Origin: req.Origin, Key: req.Key, RequestHash: req.hash()})
	failpoint.Hit(failpoint.SubmitAccepted)
	return id, replayed, err
}

// input reads what a plan depends on at the commit, and finds its project's home.
func (s *Submitter) input(ctx context.Context, req Request) (planner.Input, Home, error) {
	m := s.cfg.Mirror
	commit, err := s.resolve(ctx, req)
	if err != nil {
		return planner.Input{}, nil, err
	}
	pipe, err := s.pipeline(ctx, req.Repository, commit)
	if err != nil {
		return planner.Input{}, nil, err
	}
	says, err := s.decides(ctx, req, pipe)
	if err != nil {
		return planner.Input{}, nil, err
	}
	far, err := s.extent(ctx, req, commit, says)
	if err != nil {
		return planner.Input{}, nil, err
	}
	targets, err := s.Targets(pipe.Project)
	if err != nil {
		return planner.Input{}, nil, err
	}
	if err := publicKeys(targets); err != nil {
		return planner.Input{}, nil, err
	}
	paths := planner.Paths(pipe, targets)
	entries, err := m.Tree(ctx, req.Repository, commit, paths)
	if err != nil {
		return planner.Input{}, nil, err
	}
	unusable, err := s.unusable(ctx, req, commit, pipe, paths)
	if err != nil {
		return planner.Input{}, nil, err
	}
	objects := make(map[string]string, len(entries))
	for p, e := range entries {
		objects[p] = e.Identity()
	}
	home, err := s.cfg.Home(ctx, pipe.Project)
	if err != nil {
		return planner.Input{}, nil, err
	}
	scope := "trusted"
	if req.Untrusted {
		scope = "untrusted"
	}
	advisories := ""
	if s.cfg.Advisories != nil && planner.WantsAdvisories(pipe, targets) {
		if advisories, err = s.cfg.Advisories(ctx); err != nil {
			return planner.Input{}, nil, err
		}
	}
	line, supersede := req.line(far)
	return planner.Input{
		Line: line, Supersede: supersede, Owners: says, Class: req.class(targets),
		Untrusted: req.Untrusted, Pipeline: pipe, Targets: targets, Until: far.Until, Diff: far.Diff, Rebuild: req.NoReuse, Adopt: req.Adopt, Repository: req.Repository, Ref: req.Ref, Commit: commit, Dirty: req.Dirty,
		Objects: objects, Unusable: unusable, Registry: s.cfg.Registry, Platform: s.cfg.Platform, Runner: s.cfg.Runner, Scope: scope, Advisories: advisories, Onto: req.onto(), Key: s.cfg.Key, PublicKey: s.cfg.PublicKey,
	}, home, nil
}

// history asks what runs have taught about the tests of the pipeline.
func (s *Submitter) history(ctx context.Context, home Home, in *planner.Input) (err error) {
	var tests []string
	for _, svc := range in.Pipeline.Services {
		for _, t := range svc.Tests {
			if t.At != pipeline.AtDeploy {
				tests = append(tests, plan.TestID(svc.Name, t.Name))
			}
		}
	}
	if len(tests) > 0 {
		in.History, err = home.History(ctx, in.Pipeline.Project, tests)
	}
	return err
}

func (s *Submitter) pipeline(ctx context.Context, repository, commit string) (*pipeline.Pipeline, error) {
	files, err := s.cfg.Mirror.Files(ctx, repository, commit, []string{pipeline.File, "services/*/service.yaml"})
	if err != nil {
		return nil, err
	}
	if _, ok := files[pipeline.File]; !ok {
		return nil, fmt.Errorf("%w: commit %s of %s has no %s in its root: add one (see docs, or examples/shop)", source.ErrFileNotFound, commit[:12], repository, pipeline.File)
	}
	p, problems := pipeline.Parse(files)
	if len(problems) > 0 {
		return nil, &ProblemsError{problems}
	}
	return p, nil
}

// Targets is the platform team's file for a project as it is now; nil: there is none. Where the
// coordinator has a folder of them, it is the one with the project's name.
func (s *Submitter) Targets(project string) (*pipeline.Targets, error) {
	if s.cfg.TargetsFile == "" {
		return nil, nil //nolint:nilnil // no targets is an answer: nothing is deployed
	}
	name := s.cfg.TargetsFile
	if i, err := os.Stat(name); err == nil && i.IsDir() {
		name = filepath.Join(name, project+".yaml")
		if _, err := os.Stat(name); errors.Is(err, fs.ErrNotExist) {
			return nil, nil //nolint:nilnil // as above
		}
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("read the coordinator's targets: %w", err)
	}
	t, problems := pipeline.ParseTargets(name, data)
	if len(problems) > 0 {
		return nil, &ProblemsError{problems}
	}
	return t, nil
}

// base finds the last green commit and what changed since. That it is gone from the
// mirror, or cannot be parsed any more, only makes the reasons poorer.
func (s *Submitter) base(ctx context.Context, home Home, in *planner.Input, req Request) error {
	green, err := home.Green(ctx, in.Pipeline.Project, req.Ref)
	if err != nil || green == "" {
		return err
	}
	if green == in.Commit {
		in.Base, in.BasePipeline = green, in.Pipeline
		return nil
	}
	changed, err := s.cfg.Mirror.Changed(ctx, req.Repository, green, in.Commit)
	if err != nil {
		return nil //nolint:nilerr // as above
	}
	in.Base, in.Changed = green, changed
	if p, err := s.pipeline(ctx, req.Repository, green); err == nil {
		in.BasePipeline = p
	}
	return nil
}

// decide plans to learn which digests matter, with what is known of them, without those whose images are gone,
// and then without those whose artifacts are gone and needed, until none is.
func (s *Submitter) decide(ctx context.Context, home Home, in planner.Input) (plan.Plan, error) {
	asked := map[string]bool{}
	in.Known = func(d string) (plan.Reuse, bool) { asked[d] = true; return plan.Reuse{}, false }
	p, problems := planner.Plan(in)
	if len(problems) > 0 {
		return plan.Plan{}, &ProblemsError{problems}
	}
	known, forgotten, err := home.Known(ctx, p.Project, slices.Sorted(maps.Keys(asked)), time.Time{})
	if err != nil || len(known)+len(forgotten) == 0 {
		return p, err
	}
	in.Forgotten = forgotten
	in.Known = func(d string) (plan.Reuse, bool) { k, ok := known[d]; return k, ok }
	if p, problems = planner.Plan(in); len(problems) > 0 {
		return plan.Plan{}, &ProblemsError{problems}
	}
	gone, err := s.gone(ctx, p)
	if err != nil {
		return plan.Plan{}, err
	}
	in.Gone = map[string]string{}
	there := map[string]bool{}
	for {
		missing, err := s.missing(ctx, p, there)
		if err != nil {
			return plan.Plan{}, err
		}
		for _, t := range p.Tasks {
			if missing[t.ID] {
				gone = append(gone, t.Digest)
			}
		}
		if len(gone) == 0 {
			return p, nil
		}
		for _, d := range gone { // one less each time
			in.Gone[d] = known[d].Run
			delete(known, d)
		}
		gone = nil
		if p, problems = planner.Plan(in); len(problems) > 0 {
			return plan.Plan{}, &ProblemsError{problems}
		}
	}
}

// gone answers the digests of reused tasks whose image or manifests are not there.
func (s *Submitter) gone(ctx context.Context, p plan.Plan) ([]string, error) {
	var mu sync.Mutex
	var out []string
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(32)
	for _, t := range p.Tasks {
		if t.Reuse == nil {
			continue
		}
		g.Go(func() error {
			ok, err := s.there(ctx, t.Reuse.Result)
			if err != nil {
				return err
			}
			if !ok {
				mu.Lock()
				defer mu.Unlock()
				out = append(out, t.Digest)
			}
			return nil
		})
	}
	return out, g.Wait()
}

func (s *Submitter) there(ctx context.Context, res plan.Result) (bool, error) {
	blob := res.SBOM
	if res.Image == "" {
		blob = res.Manifests
	}
	for _, ref := range []string{res.Image, res.Index} {
		if ref == "" || ref == res.Index && s.cfg.Key == "" { // what only who signs needs
			continue
		}
		if ok, err := s.cfg.Images.Exists(ctx, ref); err != nil || !ok {
			return ok, err
		}
	}
	if res.Scan != nil {
		blob = res.Scan.Report
	}
	if blob != "" {
		_, err := s.cfg.Blobs.Get(ctx, blob)
		if errors.Is(err, artifact.ErrNotFound) || errors.Is(err, artifact.ErrCorrupt) {
			return false, nil
		}
		return err == nil, err
	}
	return true, nil
}
