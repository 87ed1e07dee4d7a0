// Package report is the worker's edge to the wire: a Grant becomes a runner.Task, and
// what a runner says and answers becomes messages. Generated types are seen nowhere
// else in the worker's own code but where calls are made.
//
// It sends nothing: worker/agent and internal/session do.
package report

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
	"github.com/slipway-build/slipway/worker/runner"
	"github.com/slipway-build/slipway/worker/runner/coverage"
	"github.com/slipway-build/slipway/worker/runner/split"
	"github.com/slipway-build/slipway/worker/runner/testreport"
)

// Limits of a completion, as the protocol states them.
const (
	maxMessage   = 16 << 10
	maxSteps     = 500
	maxItems     = 1000
	maxFileName  = 255
	maxItemBytes = 96 << 10
)

// Task is the attempt that g grants. Work is nil when this worker does not know the
// kind; Workspace is not set.
func Task(g *pb.Grant) runner.Task {
	t := runner.Task{
		Token: g.GetLease().GetToken(), Attempt: int(g.GetLease().GetAttempt()), Run: g.GetRun(), ID: g.GetTaskId(), Project: g.GetProject(),
		Commit: g.GetCommit(), Service: g.GetService(), Timeout: g.GetTimeout().AsDuration(), Traceparent: g.GetTraceparent(),
	}
	if n := len(g.GetSecrets()); n > 0 {
		t.Secrets = make(map[string][]byte, n)
		for _, s := range g.GetSecrets() {
			t.Secrets[s.GetName()] = s.GetValue()
		}
	}
	switch w := g.GetWork().(type) {
	case *pb.Grant_Build:
		t.Work = build(w.Build)
	case *pb.Grant_Test:
		t.Work = test(w.Test)
	case *pb.Grant_Scan:
		s := runner.Scan{
			Name: w.Scan.GetName(), Using: w.Scan.GetUsing(), Paths: w.Scan.GetPaths(), Manifests: w.Scan.GetManifests(), Dockerfile: w.Scan.GetDockerfile(),
			Level: w.Scan.GetLevel(), Deny: w.Scan.GetDeny(), Advisories: w.Scan.GetAdvisories(),
		}
		if w.Scan.GetTest() != nil {
			tool := test(w.Scan.GetTest())
			s.Test = &tool
		}
		t.Work = s
	case *pb.Grant_Render:
		t.Work = runner.Render{
			Path: w.Render.GetPath(), Paths: w.Render.GetPaths(), Using: w.Render.GetUsing(), Values: w.Render.GetValues(), HelmRelease: w.Render.GetHelmRelease(),
			Jobs: jobs(w.Render.GetJobs()), Images: w.Render.GetImages(), Policies: policies(w.Render.GetPolicies()),
			Environment: w.Render.GetTarget().GetEnvironment(), Cluster: w.Render.GetTarget().GetCluster(), Namespace: w.Render.GetTarget().GetNamespace(),
		}
	}
	return t
}

func test(w *pb.TestWork) runner.Test {
	return runner.Test{
		Name: w.GetName(), Build: build(w.GetBuild()), Run: w.GetRun(), Env: w.GetEnv(), Secret: w.GetSecretEnv(), Report: w.GetReport(),
		Sidecars: sidecars(w.GetSidecars()), Shard: shard(w.GetShard()), Artifacts: patterns(w.GetArtifacts()),
		Use: used(w.GetUse()), Coverage: w.GetCoverage(),
		Limits: runner.ArtifactLimits{Each: w.GetArtifactLimits().GetEach(), All: w.GetArtifactLimits().GetAll()},
	}
}

func patterns(list []*pb.ArtifactWork) []runner.Pattern {
	var out []runner.Pattern
	for _, a := range list {
		out = append(out, runner.Pattern{Name: a.GetName(), Pattern: a.GetPattern(), Required: a.GetRequired()})
	}
	return out
}

func covered(s *coverage.Summary) *pb.Coverage {
	if s == nil {
		return nil
	}
	return &pb.Coverage{Covered: int64(s.Covered), Total: int64(s.Total), Files: int32(len(s.Files))}
}

func used(list []*pb.UsedArtifact) []runner.Use {
	var out []runner.Use
	for _, u := range list {
		a := u.GetArtifact()
		out = append(out, runner.Use{Path: u.GetPath(), Task: u.GetTask(), Artifact: runner.Artifact{
			Name: a.GetName(), Digest: a.GetDigest(), Size: a.GetSize(), Files: int(a.GetFiles()), File: a.GetFile(), Executable: a.GetExecutable(),
		}})
	}
	return out
}

func artifacts(list []runner.Artifact) []*pb.Artifact {
	var out []*pb.Artifact
	for _, a := range list {
		out = append(out, &pb.Artifact{Name: a.Name, Digest: a.Digest, Size: a.Size, Files: int32(a.Files), File: text(a.File, maxFileName), Executable: a.Executable})
	}
	return out
}

func build(b *pb.BuildWork) runner.Build {
	return runner.Build{
		Paths: b.GetPaths(), Dockerfile: b.GetDockerfile(), Context: b.GetContext(), Target: b.GetTarget(), Args: b.GetArgs(), Contexts: b.GetContexts(),
		Platform: b.GetPlatform(), Push: b.GetPush(), Provenance: b.GetProvenance(), Secrets: b.GetSecrets(), Bases: b.GetBases(), Fresh: b.GetFresh(), SBOM: b.GetSbom(),
		Cacheable: b.GetCacheable(), Untrusted: b.GetUntrusted(),
	}
}

func sidecars(list []*pb.SidecarWork) []runner.Sidecar {
	var out []runner.Sidecar
	for _, s := range list {
		out = append(out, runner.Sidecar{
			Name: s.GetName(), Image: s.GetImage(), Run: s.GetRun(), Env: s.GetEnv(), Secret: s.GetSecretEnv(), Ready: s.GetReady(),
		})
	}
	return out
}

// shard is what a worker does about one: nothing, where the command knows its part.
func shard(s *pb.ShardWork) *runner.Shard {
	if s.GetList() == "" {
		return nil
	}
	out := &runner.Shard{Number: int(s.GetNumber()), Of: int(s.GetOf()), List: s.GetList(), Usual: make(map[string]time.Duration, len(s.GetItems()))}
	for _, i := range s.GetItems() {
		out.Usual[i.GetName()] = time.Duration(i.GetMillis()) * time.Millisecond
	}
	return out
}

// Completion is an outcome on the wire. Lease and log size are the session's to fill in.
func Completion(o runner.Outcome, started, finished time.Time) *pb.Completion {
	c := &pb.Completion{
		Outcome: outcome(o.Kind), FailureClass: class(o.Class), Message: text(o.Message, maxMessage),
		Result: result(o.Result), StartedAt: stamp(started), FinishedAt: stamp(finished),
	}
	for i, s := range o.Steps {
		if i == maxSteps {
			break
		}
		c.Steps = append(c.Steps, step(s))
	}
	return c
}

func outcome(k runner.OutcomeKind) pb.Outcome {
	switch k {
	case runner.Succeeded:
		return pb.Outcome_OUTCOME_SUCCEEDED
	case runner.Failed:
		return pb.Outcome_OUTCOME_FAILED
	case runner.Canceled:
		return pb.Outcome_OUTCOME_CANCELED
	default:
		return pb.Outcome_OUTCOME_ERRORED
	}
}

func class(c runner.Class) pb.FailureClass {
	switch c {
	case runner.ClassUser:
		return pb.FailureClass_FAILURE_CLASS_USER
	case runner.ClassInfra:
		return pb.FailureClass_FAILURE_CLASS_INFRA
	case runner.ClassTimeout:
		return pb.FailureClass_FAILURE_CLASS_TIMEOUT
	case runner.ClassOOM:
		return pb.FailureClass_FAILURE_CLASS_OOM
	default:
		return pb.FailureClass_FAILURE_CLASS_UNSPECIFIED
	}
}

func result(r runner.Result) *pb.Result {
	out := &pb.Result{Image: r.Image, Manifests: r.Manifests, Resolved: r.Resolved, Index: r.Index, Sbom: r.SBOM, Tests: tests(r.Tests), Artifacts: artifacts(r.Artifacts), Coverage: covered(r.Coverage)}
	if s := r.Scan; s != nil {
		out.Scan = &pb.ScanSummary{Tool: text(s.Tool, 100), Report: s.Report, Critical: int32(s.Critical), High: int32(s.High), Medium: int32(s.Medium), Low: int32(s.Low)}
	}
	if out.Image == "" && out.Manifests == "" && out.Tests == nil && out.Scan == nil && len(out.Artifacts) == 0 && out.Coverage == nil {
		return nil
	}
	if out.Tests != nil {
		out.Tests.Items, out.Tests.Listed = items(r.Items), r.Listed
	}
	return out
}

func tests(s *testreport.Summary) *pb.TestSummary {
	if s == nil {
		return nil
	}
	out := &pb.TestSummary{
		Total: int32(s.Total), Passed: int32(s.Passed), Failed: int32(s.Failed), Skipped: int32(s.Skipped), Millis: s.Duration.Milliseconds(), Partial: s.Partial,
	}
	for _, c := range s.Failures {
		out.Failures = append(out.Failures, &pb.TestCase{
			Suite: text(c.Suite, 300), Name: text(c.Name, 300), Millis: c.Duration.Milliseconds(), Output: text(c.Output, testreport.MaxOutput),
		})
	}
	return out
}

// items are what fits; of too many those that take longest, for the others count as the average.
func items(list []split.Item) []*pb.TestItem {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b split.Item) int { return cmp.Or(cmp.Compare(b.Took, a.Took), cmp.Compare(a.Name, b.Name)) })
	size := 0
	var out []*pb.TestItem
	for _, i := range list[:min(len(list), maxItems)] {
		if size += len(i.Name) + 16; size > maxItemBytes {
			break
		}
		out = append(out, &pb.TestItem{Name: i.Name, Millis: i.Took.Milliseconds()})
	}
	slices.SortFunc(out, func(a, b *pb.TestItem) int { return cmp.Compare(a.GetName(), b.GetName()) })
	return out
}

func step(s runner.Step) *pb.Step {
	out := &pb.Step{
		Name: text(s.Name, 500), Kind: s.Kind, StartedAt: stamp(s.Started), FinishedAt: stamp(s.Finished), Cached: s.Cached, Error: text(s.Error, 1000),
	}
	if len(s.Attributes) > 0 {
		out.Attributes = make(map[string]string, len(s.Attributes))
		for k, v := range s.Attributes {
			out.Attributes[text(k, 100)] = text(v, 1000)
		}
	}
	return out
}

func progress(s runner.Progress) *pb.ProgressStep {
	return &pb.ProgressStep{
		Id: s.ID, Name: text(s.Name, 500), StartedAt: stamp(s.Started), FinishedAt: stamp(s.Finished), Cached: s.Cached, Error: text(s.Error, 1000),
		Current: s.Current, Total: s.Total, Detail: text(s.Detail, 200),
	}
}

func stamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

// text is what a message may carry: a program's output need not be UTF-8, a string in
// a message must be.
func text(s string, limit int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= limit {
		return s
	}
	const cut = " […]"
	return strings.ToValidUTF8(s[:limit-len(cut)], "") + cut
}

func policies(all []*pb.RenderPolicy) []runner.Policy {
	var out []runner.Policy
	for _, p := range all {
		r := runner.Policy{
			Name: p.GetName(), Kinds: p.GetKinds(), CEL: p.GetCel(), Message: p.GetMessage(), Warn: p.GetWarn(), At: p.GetAt(),
			Require: p.GetRequire(), Images: p.GetImages(),
		}
		for _, k := range p.GetKeys() {
			r.Keys = append(r.Keys, runner.PublicKey{Name: k.GetName(), PEM: k.GetPem(), Farm: k.GetFarm()})
		}
		out = append(out, r)
	}
	return out
}

func jobs(all []*pb.RenderJob) []runner.Job {
	var out []runner.Job
	for _, j := range all {
		out = append(out, runner.Job{
			Name: j.GetName(), Phase: j.GetPhase(), Run: j.GetRun(), Env: j.GetEnv(), Services: j.GetServices(), Timeout: int(j.GetTimeoutSeconds()),
		})
	}
	return out
}
