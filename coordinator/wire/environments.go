package wire

import (
	"github.com/slipway-build/slipway/coordinator/project"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// Environments of a project, as people are told.
func Environments(list []project.Environment) []*pb.Environment {
	out := make([]*pb.Environment, 0, len(list))
	for _, e := range list {
		m := &pb.Environment{Name: e.Name, Run: e.Holder}
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
