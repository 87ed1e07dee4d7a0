package wire

import (
	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/project"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// TestName of a case.
func TestName(n plan.TestName) *pb.TestName { return &pb.TestName{Suite: n.Suite, Name: n.Name} }

// FromTestName reverses TestName.
func FromTestName(n *pb.TestName) plan.TestName {
	return plan.TestName{Suite: n.GetSuite(), Name: n.GetName()}
}

// TestNames of cases.
func TestNames(list []plan.TestName) []*pb.TestName {
	var out []*pb.TestName
	for _, n := range list {
		out = append(out, TestName(n))
	}
	return out
}

// FromTestNames reverses TestNames.
func FromTestNames(list []*pb.TestName) []plan.TestName {
	var out []plan.TestName
	for _, n := range list {
		out = append(out, FromTestName(n))
	}
	return out
}

// Test is what runs have taught about a test.
func Test(t project.Test) *pb.Test {
	out := &pb.Test{Id: t.ID}
	for _, x := range t.Recent {
		out.Recent = append(out.Recent, &pb.TestExecution{Run: x.Run, At: Time(x.At), Passed: x.Passed, Flaky: x.Flaky})
	}
	for _, c := range t.Cases {
		m := &pb.KnownCase{
			Case: TestName(c.Name), Failures: int32(c.Failures), Open: c.Open, Flakes: int32(c.Flakes), FlakedAt: Time(c.Flaked), Passes: int32(c.Passes),
			Run: c.Failed.Run, Task: c.Failed.Task, Attempt: int32(c.Failed.Attempt), Worker: c.Failed.Worker, FailedAt: Time(c.Failed.At),
		}
		if q := c.Held; q != nil {
			m.Quarantine = &pb.Quarantine{By: q.By, Reason: q.Reason, Since: Time(q.Since), Until: Time(q.Until), Release: int32(q.Release)}
		}
		out.Cases = append(out.Cases, m)
	}
	return out
}

// FromTest reverses Test.
func FromTest(m *pb.Test) project.Test {
	out := project.Test{ID: m.GetId()}
	for _, x := range m.GetRecent() {
		out.Recent = append(out.Recent, project.Execution{Run: x.GetRun(), At: FromTime(x.GetAt()), Passed: x.GetPassed(), Flaky: x.GetFlaky()})
	}
	for _, c := range m.GetCases() {
		k := project.Case{
			Name: FromTestName(c.GetCase()), Failures: int(c.GetFailures()), Open: c.GetOpen(), Flakes: int(c.GetFlakes()), Flaked: FromTime(c.GetFlakedAt()), Passes: int(c.GetPasses()),
			Failed: project.Sighting{Run: c.GetRun(), Task: c.GetTask(), Attempt: int(c.GetAttempt()), Worker: c.GetWorker(), At: FromTime(c.GetFailedAt())},
		}
		if q := c.GetQuarantine(); q != nil {
			k.Held = &project.Quarantine{By: q.GetBy(), Reason: q.GetReason(), Since: FromTime(q.GetSince()), Until: FromTime(q.GetUntil()), Release: int(q.GetRelease())}
		}
		out.Cases = append(out.Cases, k)
	}
	return out
}
