package session

import (
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/slipway-build/slipway/coordinator/partition"
	"github.com/slipway-build/slipway/coordinator/placement"
	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/wire"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// toGrant is the wire's form of a lease.
func toGrant(w partition.Work, traceparent string) *pb.Grant {
	t := w.Task
	g := &pb.Grant{
		Lease: toRef(w.Ref), Run: w.Run, TaskId: t.ID, Project: w.Project, Commit: w.Commit, Service: t.Service,
		Timeout: durationpb.New(time.Duration(t.Timeout) * time.Second), Traceparent: traceparent, Can: t.Can, Keys: placement.Left(w.Project, t), Untrusted: !w.Trusted,
	}
	switch t.Kind {
	case plan.KindBuild:
		g.Work = &pb.Grant_Build{Build: build(t.Build, w)}
	case plan.KindTest:
		g.Work = &pb.Grant_Test{Test: test(t.Test, w)}
	case plan.KindScan:
		s := t.Scan
		work := &pb.ScanWork{
			Name: s.Name, Using: s.Using, Paths: s.Paths, Manifests: s.Manifests, Dockerfile: s.Dockerfile, Level: s.Level, Deny: s.Deny, Advisories: s.Advisories,
		}
		if s.Test != nil {
			work.Test = test(s.Test, w)
		}
		g.Work = &pb.Grant_Scan{Scan: work}
	case plan.KindRender:
		g.Work = &pb.Grant_Render{Render: &pb.RenderWork{
			Path: t.Render.Path, Paths: t.Render.Paths, Using: t.Render.Using, Values: t.Render.Values, HelmRelease: t.Render.HelmRelease,
			Jobs: jobs(t.Render.Jobs), Images: w.Images, Target: target(t.Target), Policies: policies(t.Render.Policies),
		}}
	case plan.KindApply, plan.KindCatchUp:
		g.Work = &pb.Grant_Apply{Apply: &pb.ApplyWork{
			Target: target(t.Target), Manifests: w.Manifests, Release: w.Release, Health: health(t.Apply.Health), Adopt: t.Apply.Adopt,
			Beside: durationpb.New(time.Duration(t.Apply.Beside) * time.Second),
		}}
	case plan.KindShift:
		g.Work = &pb.Grant_Shift{Shift: &pb.ShiftWork{
			Target: target(t.Target), Manifests: w.Manifests, Release: w.Release, Health: health(t.Apply.Health), Weight: int32(t.Apply.Weight), Adopt: t.Apply.Adopt, Router: router(t.Apply.Router), Flag: t.Apply.Flag,
		}}
	case plan.KindAnalyze:
		g.Work = &pb.Grant_Analyze{Analyze: &pb.AnalyzeWork{
			Target: target(t.Target), Manifests: w.Manifests, Release: w.Release, Health: health(t.Analyze.Health), Weight: int32(t.Analyze.Weight),
			Pause: durationpb.New(time.Duration(t.Analyze.Pause) * time.Second), Metrics: analyses(t.Analyze.Metrics), Router: router(t.Analyze.Router), Flag: t.Analyze.Flag,
		}}
	case plan.KindDiff:
		g.Work = &pb.Grant_Diff{Diff: &pb.DiffWork{Target: target(t.Target), Manifests: w.Manifests, Adopt: t.Apply.Adopt}}
	case plan.KindRollback:
		g.Work = &pb.Grant_Rollback{Rollback: &pb.RollbackWork{
			Target: target(t.Target), CandidateManifests: w.Manifests, CandidateRelease: w.Release,
			StableManifests: w.Stable.Manifests, StableRelease: w.Stable.Release, Health: health(t.Apply.Health),
		}}
	case plan.KindCheckout, plan.KindGather, plan.KindFindings, plan.KindSign, plan.KindRelease, plan.KindApprove, plan.KindRollout, plan.KindStep, plan.KindWave, plan.KindPromote, plan.KindVerified:
		// The coordinator's own: never leased.
	}
	return g
}

func test(t *plan.Test, w partition.Work) *pb.TestWork {
	return &pb.TestWork{
		Name: t.Name, Build: build(&t.Build, w), Run: t.Run, Env: t.Env, SecretEnv: t.Secret, Report: t.Report,
		Sidecars: sidecars(t.Sidecars), Shard: shard(t.Shard, w.Timing), Coverage: t.Coverage, Artifacts: artifacts(t.Artifacts, t.Required), Use: used(t.Use, w.Artifacts),
	}
}

func build(b *plan.Build, w partition.Work) *pb.BuildWork {
	return &pb.BuildWork{
		Paths: b.Paths, Dockerfile: b.Dockerfile, Context: b.Context, Target: b.Target, Args: b.Args, Contexts: w.Images,
		Platform: b.Platform, Push: b.Push, Provenance: b.Provenance, Secrets: b.Secrets, Bases: b.Bases, Fresh: b.Fresh, Sbom: b.SBOM,
		Cacheable: w.Trusted && !w.Dirty, Untrusted: !w.Trusted,
	}
}

func artifacts(patterns map[string]string, required []string) []*pb.ArtifactWork {
	var out []*pb.ArtifactWork
	for _, name := range slices.Sorted(maps.Keys(patterns)) {
		out = append(out, &pb.ArtifactWork{Name: name, Pattern: patterns[name], Required: slices.Contains(required, name)})
	}
	return out
}

func used(list []plan.Use, left []plan.Artifact) []*pb.UsedArtifact {
	var out []*pb.UsedArtifact
	for i, u := range list {
		a := left[i]
		a.Name = u.Artifact
		out = append(out, &pb.UsedArtifact{Path: u.Path, Task: u.Task, Artifact: wire.Artifact(a)})
	}
	return out
}

func sidecars(list []plan.Sidecar) []*pb.SidecarWork {
	out := make([]*pb.SidecarWork, 0, len(list))
	for _, s := range list {
		out = append(out, &pb.SidecarWork{Name: s.Name, Image: s.Image, Run: s.Run, Env: s.Env, SecretEnv: s.Secret, Ready: s.Ready})
	}
	return out
}

func shard(s *plan.Shard, timing []plan.Item) *pb.ShardWork {
	if s == nil {
		return nil
	}
	return &pb.ShardWork{Number: int32(s.Number), Of: int32(s.Of), List: s.List, Items: wire.Items(timing)}
}

func target(t *plan.Target) *pb.DeployTarget {
	return &pb.DeployTarget{Environment: t.Environment, Cluster: t.Cluster, Namespace: t.Namespace}
}

func health(h *plan.Health) *pb.HealthCheck {
	if h == nil {
		return nil
	}
	return &pb.HealthCheck{Path: h.Path, Port: int32(h.Port)}
}

func analyses(all []plan.Analysis) []*pb.Analysis {
	out := make([]*pb.Analysis, len(all))
	for i, a := range all {
		out[i] = &pb.Analysis{
			Name: a.Name, Provider: a.Provider, Interval: durationpb.New(time.Duration(a.Interval) * time.Second),
			NoData: a.NoData, Inconclusive: int32(a.Inconclusive), DryRun: a.DryRun,
		}
		for _, m := range a.Metrics {
			out[i].Metrics = append(out[i].Metrics, &pb.AnalysisMetric{
				Name: m.Name, Query: m.Query, Field: m.Field, Max: m.Max, Min: m.Min, MaxRatio: m.MaxRatio, MaxIncrease: m.MaxIncrease, Failures: int32(m.Failures),
			})
		}
	}
	return out
}

func policies(all []plan.Policy) []*pb.RenderPolicy {
	var out []*pb.RenderPolicy
	for _, p := range all {
		w := &pb.RenderPolicy{Name: p.Name, Kinds: p.Kinds, Cel: p.CEL, Message: p.Message, Warn: p.Warn, At: p.At, Require: p.Require, Images: p.Images}
		for _, k := range p.Keys {
			w.Keys = append(w.Keys, &pb.PublicKey{Name: k.Name, Pem: k.PEM, Farm: k.Farm})
		}
		out = append(out, w)
	}
	return out
}

func jobs(all []plan.Job) []*pb.RenderJob {
	out := make([]*pb.RenderJob, len(all))
	for i, j := range all {
		out[i] = &pb.RenderJob{Name: j.Name, Phase: j.Phase, Run: j.Run, Env: j.Env, Services: j.Services, TimeoutSeconds: int32(j.Timeout)}
	}
	return out
}

func router(name string) pb.Router {
	switch name {
	case plan.RouterService:
		return pb.Router_ROUTER_SERVICE
	case plan.RouterFlag:
		return pb.Router_ROUTER_FLAG
	default:
		return pb.Router_ROUTER_REPLICAS
	}
}
