package partition

import (
	"context"
	"fmt"
	"time"

	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/run"
)

const (
	// maxBatch is the size from which on a group commit takes no further command, and
	// from which on its events go on in another record.
	maxBatch = 256 << 10
	// maxEvent bounds one event. A record ends after at most two events that begin below
	// maxBatch, so maxBatch + 2 maxEvent must stay under journal.MaxRecord.
	maxEvent = 256 << 10
)

// persist makes events durable at one journal time: in one record, but for a command that
// decides more than a record holds, like the end of a run with ten thousand tasks. What
// is durable when a record in the middle cannot be appended is a state like any other:
// all but the end of an attempt follows from the events before it, and is said again.
func persist(ctx context.Context, j Journal, at time.Time, events []run.Event) error {
	for len(events) > 0 {
		n := cut(events)
		if _, err := j.Append(ctx, at, events[:n]); err != nil {
			return fmt.Errorf("append %d events: %w", n, err)
		}
		events = events[n:]
	}
	return nil
}

// cut is how many events go into the next record. What the end of an attempt means for
// its task is in the same record as the end of the attempt.
func cut(events []run.Event) int {
	size := 0
	for i, e := range events {
		size += weight(e)
		if _, open := e.(run.AttemptFinished); size >= maxBatch && !open {
			return i + 1
		}
	}
	return len(events)
}

// weight estimates an event's encoded size from above.
func weight(e run.Event) int {
	n := 300 + 2*len(e.RunID())
	switch e := e.(type) {
	case run.AttemptFinished:
		n += len(e.Task) + len(e.Attempt.Worker) + len(e.Attempt.Message)
		for _, s := range e.Attempt.Steps {
			n += 100 + len(s.Name) + len(s.Kind) + len(s.Error)
			for k, v := range s.Attributes {
				n += 16 + len(k) + len(v)
			}
		}
		for _, f := range e.Attempt.Failed {
			n += 16 + len(f.Suite) + len(f.Name)
		}
	case run.Quarantined:
		n += len(e.Test) + len(e.Case.Suite) + len(e.Case.Name) + len(e.Reason)
	case run.ResultsForgotten:
		n += len(e.Reason)
		for _, d := range e.Digests {
			n += 8 + len(d)
		}
	case run.Approved:
		n += len(e.Task) + len(e.By) + len(e.Reason)
	case run.EnvironmentHeld:
		n += len(e.Environment) + len(e.By) + len(e.Run) + len(e.Reason)
	case run.EnvironmentFreed:
		n += len(e.Environment) + len(e.By) + len(e.Reason)
	case run.Released:
		n += len(e.Test) + len(e.Case.Suite) + len(e.Case.Name) + len(e.Reason)
	case run.TaskFinished:
		n += len(e.Task) + len(e.Message) + weightOf(e.Result)
	case run.TaskRetried:
		n += len(e.Task) + len(e.Reason)
	case run.Finished:
		n += len(e.Message)
	case run.StopRequested:
		n += len(e.Message)
		for _, id := range e.Keep {
			n += len(id)
		}
	case run.Accepted:
		n += len(e.Repository) + len(e.Ref) + len(e.SubmittedBy) + len(e.IdempotencyKey)
	default:
	}
	return n
}

func weightOf(r plan.Result) int {
	n := len(r.Image) + len(r.Manifests) + len(r.Release) + len(r.Index) + len(r.SBOM) + len(r.Key)
	for tag, digest := range r.Resolved {
		n += 8 + len(tag) + len(digest)
	}
	if r.Scan != nil {
		n += 32 + len(r.Scan.Tool) + len(r.Scan.Report)
	}
	if r.Findings != nil {
		n += 32 + len(r.Findings.Report)
		for _, f := range r.Findings.Worst {
			n += 40 + len(f.Scan) + len(f.Rule) + len(f.Severity) + len(f.Path) + len(f.Message) + len(f.Help) + len(f.Fingerprint)
		}
	}
	if r.Tests != nil {
		for _, f := range r.Tests.Failures {
			n += 50 + len(f.Suite) + len(f.Name) + len(f.Output)
		}
		for _, i := range r.Tests.Items {
			n += 16 + len(i.Name)
		}
	}
	for _, a := range r.Artifacts {
		n += 40 + len(a.Name) + len(a.Digest) + len(a.File)
	}
	if r.Deploy != nil {
		for _, p := range r.Deploy.Pruned {
			n += 8 + len(p)
		}
	}
	return n
}

// fit cuts what a worker says beyond what a record can hold: how it ended stays, the
// details go. Refusing it would have the worker say it again for ever.
func fit(rep run.Report) run.Report {
	if len(rep.Attempt.Message) > maxEvent/4 {
		rep.Attempt.Message = rep.Attempt.Message[:maxEvent/4]
	}
	if weight(run.AttemptFinished{Attempt: rep.Attempt}) > maxEvent*3/4 {
		rep.Attempt.Steps = nil
	}
	rep.Result.Artifacts = rep.Result.Artifacts[:min(len(rep.Result.Artifacts), plan.MaxArtifacts)]
	if t := rep.Result.Tests; t != nil && len(t.Items) > 0 && weightOf(rep.Result) > maxEvent/2 {
		without := *t
		without.Items = nil
		rep.Result.Tests = &without
	}
	if weightOf(rep.Result) > maxEvent/2 {
		r := plan.Result{Image: rep.Result.Image, Manifests: rep.Result.Manifests, Resolved: rep.Result.Resolved, Release: rep.Result.Release, Index: rep.Result.Index, SBOM: rep.Result.SBOM, Scan: rep.Result.Scan, Artifacts: rep.Result.Artifacts, Coverage: rep.Result.Coverage}
		if t := rep.Result.Tests; t != nil {
			counts := *t
			counts.Failures, counts.Items = nil, nil
			r.Tests = &counts
		}
		if d := rep.Result.Deploy; d != nil {
			state := *d
			state.Pruned = nil
			r.Deploy = &state
		}
		rep.Result = r
	}
	return rep
}
