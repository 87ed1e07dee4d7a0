package wire

import (
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/slipway-build/slipway/coordinator/project"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// Environments of a project, as people are told.
func Environments(list []project.Environment) []*pb.Environment {
	out := make([]*pb.Environment, 0, len(list))
	for _, e := range list {
		m := &pb.Environment{Name: e.Name, Run: e.Holder, Drift: drift(e.Drift)}
		if h := e.Hold; h != nil {
			m.Hold = &pb.EnvironmentHold{By: h.By, Run: h.Run, Reason: h.Reason, Pause: h.Pause, At: Time(h.At)}
		}
		for _, s := range e.Serving {
			m.Serving = append(m.Serving, &pb.Serving{Cluster: s.Cluster, Service: s.Service, Release: s.Stable.Release, Run: s.Stable.Run})
		}
		out = append(out, m)
	}
	return out
}

func drift(d project.Drift) *pb.Drift {
	if d.At.IsZero() && d.Pending == "" && len(d.Restored) == 0 {
		return nil
	}
	out := &pb.Drift{At: Time(d.At), Run: d.Run, Problem: d.Problem, Pending: d.Pending}
	for _, o := range d.Objects {
		out.Objects = append(out.Objects, &pb.DriftedObject{
			Cluster: o.Cluster, Service: o.Service, Object: o.Object, Action: o.Action, Fields: o.Fields, By: o.By, Changed: Time(o.Changed), Since: Time(o.Since),
		})
	}
	for _, r := range d.Restored {
		out.Restored = append(out.Restored, &pb.DriftRestore{Object: r.Object, At: Time(r.At)})
	}
	return out
}

func fromDrift(d *pb.Drift, moved *timestamppb.Timestamp) project.Drift {
	out := project.Drift{At: FromTime(d.GetAt()), Run: d.GetRun(), Problem: d.GetProblem(), Pending: d.GetPending(), Moved: FromTime(moved)}
	for _, o := range d.GetObjects() {
		out.Objects = append(out.Objects, project.Drifted{
			Cluster: o.GetCluster(), Service: o.GetService(), Object: o.GetObject(), Action: o.GetAction(), Fields: o.GetFields(), By: o.GetBy(), Changed: FromTime(o.GetChanged()), Since: FromTime(o.GetSince()),
		})
	}
	for _, r := range d.GetRestored() {
		out.Restored = append(out.Restored, project.Restoration{Object: r.GetObject(), At: FromTime(r.GetAt())})
	}
	return out
}
