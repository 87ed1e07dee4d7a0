package pool

import (
	"github.com/slipway-build/slipway/coordinator/schedule"
	"github.com/slipway-build/slipway/coordinator/share"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

func toReport(r share.Report) *pb.ReportRequest {
	out := &pb.ReportRequest{From: r.From, Life: r.Life, Sequence: r.Seq, Moves: int64(r.Moves)}
	for _, n := range r.Partitions {
		out.Partitions = append(out.Partitions, int32(n))
	}
	for c, l := range r.Lanes {
		lane := &pb.LaneReport{Capability: c, Slots: int32(l.Slots)}
		for _, d := range l.Demand {
			lane.Demand = append(lane.Demand, &pb.LaneDemand{
				Class: d.Who.Class.String(), Team: d.Who.Team, Share: int32(d.Who.Share), Project: d.Who.Project, Running: int32(d.Running), Waiting: int32(d.Waiting),
			})
		}
		out.Lanes = append(out.Lanes, lane)
	}
	for name, t := range r.Teams {
		out.Teams = append(out.Teams, &pb.TeamReport{Name: name, Limit: int32(t.Limit), Running: int32(t.Running), Waiting: int32(t.Waiting), May: int32(t.May)})
	}
	return out
}

func fromReport(m *pb.ReportRequest) share.Report {
	out := share.Report{From: m.GetFrom(), Life: m.GetLife(), Seq: m.GetSequence(), Moves: int(m.GetMoves()), Lanes: map[string]share.Lane{}, Teams: map[string]share.Team{}}
	for _, n := range m.GetPartitions() {
		out.Partitions = append(out.Partitions, int(n))
	}
	for _, l := range m.GetLanes() {
		lane := share.Lane{Slots: int(l.GetSlots())}
		for _, d := range l.GetDemand() {
			lane.Demand = append(lane.Demand, share.Demand{
				Who:     share.Who{Class: schedule.ClassOf(d.GetClass()), Team: d.GetTeam(), Share: int(d.GetShare()), Project: d.GetProject()},
				Running: int(d.GetRunning()), Waiting: int(d.GetWaiting()),
			})
		}
		out.Lanes[l.GetCapability()] = lane
	}
	for _, t := range m.GetTeams() {
		out.Teams[t.GetName()] = share.Team{Limit: int(t.GetLimit()), Running: int(t.GetRunning()), Waiting: int(t.GetWaiting()), May: int(t.GetMay())}
	}
	return out
}

func toAnswer(a share.Answer) *pb.ReportResponse {
	out := &pb.ReportResponse{}
	for c, l := range a.Lanes {
		out.Lanes = append(out.Lanes, &pb.LaneLot{Capability: c, Slots: int32(l.Slots), Scarce: l.Scarce, Running: int32(l.Running), Waiting: int32(l.Waiting)})
	}
	for name, t := range a.Teams {
		out.Teams = append(out.Teams, &pb.TeamPart{Name: name, May: int32(t.May), Running: int32(t.Running)})
	}
	return out
}

func fromAnswer(m *pb.ReportResponse) share.Answer {
	out := share.Answer{Lanes: map[string]share.Lot{}, Teams: map[string]share.Part{}}
	for _, l := range m.GetLanes() {
		out.Lanes[l.GetCapability()] = share.Lot{Slots: int(l.GetSlots()), Scarce: l.GetScarce(), Running: int(l.GetRunning()), Waiting: int(l.GetWaiting())}
	}
	for _, t := range m.GetTeams() {
		out.Teams[t.GetName()] = share.Part{May: int(t.GetMay()), Running: int(t.GetRunning())}
	}
	return out
}
