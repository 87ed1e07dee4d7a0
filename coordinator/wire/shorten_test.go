package wire_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	"github.com/slipway-build/slipway/coordinator/wire"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// large has a task that succeeded and one that failed, each with more to say than anybody reads.
func large() *pb.Run {
	attempt := func() *pb.Attempt {
		a := &pb.Attempt{Number: 1, Message: strings.Repeat("é", 1000)}
		for range 100 {
			a.Steps = append(a.Steps, &pb.Step{Name: strings.Repeat("s", 20)})
		}
		return a
	}
	return &pb.Run{Id: "shop-1", Tasks: []*pb.Task{
		{Id: "build/api", State: pb.TaskState_TASK_STATE_SUCCEEDED, Attempts: []*pb.Attempt{attempt()}},
		{Id: "test/api", State: pb.TaskState_TASK_STATE_FAILED, Reason: strings.Repeat("r", 500), Attempts: []*pb.Attempt{attempt()}, Message: strings.Repeat("é", 1000), Result: &pb.Result{
			Tests: &pb.TestSummary{Failed: 1, Failures: []*pb.TestCase{{Name: strings.Repeat("n", 500), Output: strings.Repeat("o", 5000)}}},
		}},
	}}
}

func TestShortenTakesWhatIsReadLastFirst(t *testing.T) {
	whole := proto.Size(large())
	steps := func(m *pb.Run, i int) int { return len(m.GetTasks()[i].GetAttempts()[0].GetSteps()) }
	failures := func(m *pb.Run) []*pb.TestCase { return m.GetTasks()[1].GetResult().GetTests().GetFailures() }
	var last int
	for _, c := range []struct {
		name  string
		left  func(m *pb.Run) bool
		taken func(m *pb.Run) bool
	}{
		{"nothing", func(m *pb.Run) bool { return proto.Equal(m, large()) }, func(m *pb.Run) bool { return !m.GetShortened() }},
		{"steps of what succeeded", func(m *pb.Run) bool { return steps(m, 1) == 100 }, func(m *pb.Run) bool { return steps(m, 0) == 0 }},
		{"all steps", func(m *pb.Run) bool { return failures(m)[0].GetOutput() != "" }, func(m *pb.Run) bool { return steps(m, 1) == 0 }},
		{"output of tests", func(m *pb.Run) bool { return failures(m)[0].GetName() != "" }, func(m *pb.Run) bool { return failures(m)[0].GetOutput() == "" }},
		{"failed tests", func(m *pb.Run) bool { return len(m.GetTasks()[1].GetMessage()) == 2000 }, func(m *pb.Run) bool {
			return len(failures(m)) == 0 && m.GetTasks()[1].GetResult().GetTests().GetFailed() == 1
		}},
		{"ends of messages", func(m *pb.Run) bool { return m.GetTasks()[1].GetReason() != "" }, func(m *pb.Run) bool {
			text := m.GetTasks()[1].GetMessage()
			return len(text) < 300 && strings.HasSuffix(text, "é…") && utf8.ValidString(text)
		}},
		{"reasons", func(m *pb.Run) bool {
			return len(m.GetTasks()) == 2 && m.GetTasks()[1].GetResult().GetTests().GetFailed() == 1
		}, func(m *pb.Run) bool {
			return m.GetTasks()[1].GetReason() == ""
		}},
	} {
		limit := whole
		if last != 0 {
			limit = last - 1 // what was enough before is not enough now
		}
		m := large()
		wire.Shorten(m, limit)
		if !c.left(m) || !c.taken(m) {
			t.Errorf("%s: within %d bytes it is %v", c.name, limit, m)
		}
		last = proto.Size(m)
	}
}
