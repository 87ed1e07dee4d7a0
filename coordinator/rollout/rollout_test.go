package rollout_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-build/slipway/coordinator/pipeline"
	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/rollout"
)

func show(tasks []plan.Task) string {
	lines := make([]string, len(tasks))
	for i, t := range tasks {
		lines[i] = fmt.Sprintf("%s [%s] %s", t.ID, t.Can, strings.Join(t.Needs, " "))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func TestWavesGoOneAfterTheOther(t *testing.T) {
	prod := &pipeline.Environment{
		Name: "prod", Clusters: []string{"asia", "eu", "us"}, Namespace: "shop", Rollback: pipeline.RollbackEveryWave,
		Waves: []*pipeline.Wave{{Name: "first", Clusters: []string{"eu"}}, {Name: "second", Clusters: []string{"us"}}, {Name: "last", Clusters: []string{"asia"}}},
	}
	part := rollout.Make([]rollout.Service{{Name: "web", Needs: []string{"api"}}, {Name: "api"}}, []*pipeline.Environment{prod})
	want := `apply/api@prod/asia [deploy_asia] render/api@prod/asia wave/prod/second
apply/api@prod/eu [deploy_eu] render/api@prod/eu rollout/prod
apply/api@prod/us [deploy_us] render/api@prod/us wave/prod/first
apply/web@prod/asia [deploy_asia] apply/api@prod/asia render/web@prod/asia wave/prod/second
apply/web@prod/eu [deploy_eu] apply/api@prod/eu render/web@prod/eu rollout/prod
apply/web@prod/us [deploy_us] apply/api@prod/us render/web@prod/us wave/prod/first
promote/api@prod [] apply/api@prod/asia apply/api@prod/eu apply/api@prod/us
promote/web@prod [] apply/web@prod/asia apply/web@prod/eu apply/web@prod/us
rollout/prod [] release
verified/prod [] promote/api@prod promote/web@prod
wave/prod/first [] apply/api@prod/eu apply/web@prod/eu
wave/prod/second [] apply/api@prod/us apply/web@prod/us`
	if diff := cmp.Diff(want, show(part.Tasks)); diff != "" {
		t.Error(diff)
	}
}

func TestMake(t *testing.T) {
	dev := &pipeline.Environment{Name: "dev", Clusters: []string{"one"}, Namespace: "shop-dev", Rollback: pipeline.RollbackNone}
	prod := &pipeline.Environment{
		Name: "prod", Clusters: []string{"eu", "us"}, Namespace: "shop",
		After: &pipeline.After{Env: "dev", Verified: true}, Rollback: pipeline.RollbackEveryWave,
	}
	part := rollout.Make([]rollout.Service{
		{Name: "web", Needs: []string{"api", "library"}, Health: &plan.Health{Path: "/", Port: 80}, Timeout: 60},
		{Name: "api", Timeout: 30},
	}, []*pipeline.Environment{dev, prod})
	want := `apply/api@dev/one [deploy_one] render/api@dev/one rollout/dev
apply/api@prod/eu [deploy_eu] render/api@prod/eu rollout/prod
apply/api@prod/us [deploy_us] render/api@prod/us rollout/prod
apply/web@dev/one [deploy_one] apply/api@dev/one render/web@dev/one rollout/dev
apply/web@prod/eu [deploy_eu] apply/api@prod/eu render/web@prod/eu rollout/prod
apply/web@prod/us [deploy_us] apply/api@prod/us render/web@prod/us rollout/prod
promote/api@dev [] apply/api@dev/one
promote/api@prod [] apply/api@prod/eu apply/api@prod/us
promote/web@dev [] apply/web@dev/one
promote/web@prod [] apply/web@prod/eu apply/web@prod/us
rollout/dev [] release
rollout/prod [] release verified/dev
verified/dev [] promote/api@dev promote/web@dev
verified/prod [] promote/api@prod promote/web@prod`
	if diff := cmp.Diff(want, show(part.Tasks)); diff != "" {
		t.Error(diff)
	}
	want = `rollback/api@prod/eu [deploy_eu] apply/api@prod/eu
rollback/api@prod/us [deploy_us] apply/api@prod/us
rollback/web@prod/eu [deploy_eu] apply/web@prod/eu
rollback/web@prod/us [deploy_us] apply/web@prod/us`
	if diff := cmp.Diff(want, show(part.Rollbacks)); diff != "" {
		t.Error(diff)
	}
	for _, task := range append(part.Tasks, part.Rollbacks...) {
		if task.Kind != plan.KindApply && task.Kind != plan.KindRollback || task.Service != "web" {
			continue
		}
		if task.Timeout != 60 || task.Apply.Health.Port != 80 || task.Apply.Manifests != plan.RenderID("web", *task.Target) || task.Target.Namespace == "" {
			t.Errorf("%+v", task)
		}
	}
	if empty := rollout.Make(nil, []*pipeline.Environment{dev}); len(empty.Tasks) > 0 {
		t.Errorf("nothing to deploy, and yet %v", empty.Tasks)
	}
}

func TestAdoptIsForAppliesAlone(t *testing.T) {
	dev := &pipeline.Environment{Name: "dev", Namespace: "shop", Clusters: []string{"one"}}
	part := rollout.Make([]rollout.Service{{Name: "api", Adopt: true}}, []*pipeline.Environment{dev})
	for _, task := range slices.Concat(part.Tasks, part.Rollbacks) {
		if adopts := task.Apply != nil && task.Apply.Adopt; adopts != (task.Kind == plan.KindApply) {
			t.Errorf("%s adopts: %v", task.ID, adopts)
		}
	}
}

// TestCanary: the same step in all clusters of a wave, the next one and the apply behind the barrier, and a wave
// behind the one before.
func TestCanary(t *testing.T) {
	prod := &pipeline.Environment{
		Name: "prod", Clusters: []string{"eu", "uk", "us"}, Namespace: "shop", Rollback: pipeline.RollbackEveryWave, Strategy: pipeline.StrategyCanary,
		Canary: &pipeline.Canary{Steps: []int{10, 50, 100}, Pause: time.Minute, Measured: pipeline.Measured{Analyses: []*pipeline.Analysis{
			{Analysis: plan.Analysis{Name: "often", Interval: 10, Metrics: []plan.Metric{{Name: "errors"}}}}, {Analysis: plan.Analysis{Name: "seldom", Interval: 300}},
		}}},
		Waves: []*pipeline.Wave{{Name: "first", Clusters: []string{"eu", "uk"}, Soak: time.Hour}, {Name: "last", Clusters: []string{"us"}}},
		After: &pipeline.After{Env: "staging", Verified: true, Soak: time.Minute},
	}
	part := rollout.Make([]rollout.Service{{Name: "web", Needs: []string{"api"}}, {Name: "api"}}, []*pipeline.Environment{prod})
	var web []plan.Task
	for _, task := range part.Tasks {
		if task.Service == "web" {
			web = append(web, task)
		}
		switch {
		case task.Kind == plan.KindRollout && task.Wait != 60, task.Kind == plan.KindWave && task.Wait != 3600:
			t.Errorf("%s waits %d s", task.ID, task.Wait)
		case task.Kind == plan.KindAnalyze && (task.Analyze.Pause != 60 || task.Timeout <= 60):
			t.Errorf("%s: %+v within %d s", task.ID, task.Analyze, task.Timeout)
		case task.Kind == plan.KindAnalyze:
			want := []plan.Analysis{{Name: "often", Interval: 10, Metrics: []plan.Metric{{Name: "errors"}}}, {Name: "seldom", Interval: 60}}
			if diff := cmp.Diff(want, task.Analyze.Metrics); diff != "" {
				t.Errorf("%s: what is measured, at most once a pause:\n%s", task.ID, diff)
			}
		}
	}
	want := `analyze/web@prod/eu:10 [deploy_eu] shift/web@prod/eu:10
analyze/web@prod/eu:50 [deploy_eu] shift/web@prod/eu:50
analyze/web@prod/uk:10 [deploy_uk] shift/web@prod/uk:10
analyze/web@prod/uk:50 [deploy_uk] shift/web@prod/uk:50
analyze/web@prod/us:10 [deploy_us] shift/web@prod/us:10
analyze/web@prod/us:50 [deploy_us] shift/web@prod/us:50
apply/web@prod/eu [deploy_eu] render/web@prod/eu step/web@prod/first:50
apply/web@prod/uk [deploy_uk] render/web@prod/uk step/web@prod/first:50
apply/web@prod/us [deploy_us] render/web@prod/us step/web@prod/last:50
promote/web@prod [] apply/web@prod/eu apply/web@prod/uk apply/web@prod/us
shift/web@prod/eu:10 [deploy_eu] apply/api@prod/eu render/web@prod/eu rollout/prod
shift/web@prod/eu:50 [deploy_eu] render/web@prod/eu step/web@prod/first:10
shift/web@prod/uk:10 [deploy_uk] apply/api@prod/uk render/web@prod/uk rollout/prod
shift/web@prod/uk:50 [deploy_uk] render/web@prod/uk step/web@prod/first:10
shift/web@prod/us:10 [deploy_us] apply/api@prod/us render/web@prod/us wave/prod/first
shift/web@prod/us:50 [deploy_us] render/web@prod/us step/web@prod/last:10
step/web@prod/first:10 [] analyze/web@prod/eu:10 analyze/web@prod/uk:10
step/web@prod/first:50 [] analyze/web@prod/eu:50 analyze/web@prod/uk:50
step/web@prod/last:10 [] analyze/web@prod/us:10
step/web@prod/last:50 [] analyze/web@prod/us:50`
	if diff := cmp.Diff(want, show(web)); diff != "" {
		t.Error(diff)
	}
}

// TestBlueGreen: beside in all clusters, then all requests in all of them, then the apply; what is measured is measured after the switch.
func TestBlueGreen(t *testing.T) {
	prod := &pipeline.Environment{
		Name: "prod", Clusters: []string{"eu", "us"}, Namespace: "shop", Rollback: pipeline.RollbackEveryWave, Strategy: pipeline.StrategyBlueGreen,
		BlueGreen: &pipeline.BlueGreen{Verify: time.Minute, Warm: time.Hour, Measured: pipeline.Measured{Analyses: []*pipeline.Analysis{{Analysis: plan.Analysis{Name: "errors", Interval: 10}}}}},
	}
	part := rollout.Make([]rollout.Service{{Name: "web"}}, []*pipeline.Environment{prod})
	for _, task := range part.Tasks {
		switch {
		case task.Kind == plan.KindShift && task.Apply.Router != plan.RouterService:
			t.Errorf("%s is by %q", task.ID, task.Apply.Router)
		case task.Kind == plan.KindAnalyze:
			a := task.Analyze
			if warm := a.Weight == 100; a.Router != plan.RouterService || (len(a.Metrics) == 1) != warm || (a.Pause == 3600) != warm || !warm && a.Pause != 60 {
				t.Errorf("%s: %+v", task.ID, a)
			}
		}
	}
	want := `analyze/web@prod/eu:0 [deploy_eu] shift/web@prod/eu:0
analyze/web@prod/eu:100 [deploy_eu] shift/web@prod/eu:100
analyze/web@prod/us:0 [deploy_us] shift/web@prod/us:0
analyze/web@prod/us:100 [deploy_us] shift/web@prod/us:100
apply/web@prod/eu [deploy_eu] render/web@prod/eu step/web@prod:100
apply/web@prod/us [deploy_us] render/web@prod/us step/web@prod:100
promote/web@prod [] apply/web@prod/eu apply/web@prod/us
rollout/prod [] release
shift/web@prod/eu:0 [deploy_eu] render/web@prod/eu rollout/prod
shift/web@prod/eu:100 [deploy_eu] render/web@prod/eu step/web@prod:0
shift/web@prod/us:0 [deploy_us] render/web@prod/us rollout/prod
shift/web@prod/us:100 [deploy_us] render/web@prod/us step/web@prod:0
step/web@prod:0 [] analyze/web@prod/eu:0 analyze/web@prod/us:0
step/web@prod:100 [] analyze/web@prod/eu:100 analyze/web@prod/us:100
verified/prod [] promote/web@prod`
	if diff := cmp.Diff(want, show(part.Tasks)); diff != "" {
		t.Error(diff)
	}
}

// TestFlag: steps as a canary's, of a release that is there as a whole from the first on; what comes before it has its time there.
func TestFlag(t *testing.T) {
	dev := &pipeline.Environment{
		Name: "dev", Clusters: []string{"one"}, Namespace: "shop", Rollback: pipeline.RollbackNone, Strategy: pipeline.StrategyFlag,
		Flag: &pipeline.Flag{Name: "new", Steps: []int{1, 60, 100}, Pause: time.Minute},
	}
	part := rollout.Make([]rollout.Service{{Name: "web", Timeout: 30, Beside: 100}}, []*pipeline.Environment{dev})
	for _, task := range part.Tasks {
		switch {
		case task.Kind == plan.KindShift && (task.Apply.Router != plan.RouterFlag || task.Apply.Flag != "new" || task.Timeout != 130),
			task.Kind == plan.KindAnalyze && (task.Analyze.Router != plan.RouterFlag || task.Analyze.Flag != "new"):
			t.Errorf("%s: %+v %+v", task.ID, task.Apply, task.Analyze)
		}
	}
	want := `analyze/web@dev/one:1 [deploy_one] shift/web@dev/one:1
analyze/web@dev/one:60 [deploy_one] shift/web@dev/one:60
apply/web@dev/one [deploy_one] render/web@dev/one step/web@dev:60
promote/web@dev [] apply/web@dev/one
rollout/dev [] release
shift/web@dev/one:1 [deploy_one] render/web@dev/one rollout/dev
shift/web@dev/one:60 [deploy_one] render/web@dev/one step/web@dev:1
step/web@dev:1 [] analyze/web@dev/one:1
step/web@dev:60 [] analyze/web@dev/one:60
verified/dev [] promote/web@dev`
	if diff := cmp.Diff(want, show(part.Tasks)); diff != "" {
		t.Error(diff)
	}
}

// TestSoManyClustersAtATime: a wave of three goes two at a time, and its soak comes behind the last of them.
func TestSoManyClustersAtATime(t *testing.T) {
	prod := &pipeline.Environment{
		Name: "prod", Clusters: []string{"ap", "eu", "uk", "us"}, Namespace: "shop", Rollback: pipeline.RollbackNone, Tolerate: 2,
		Waves: []*pipeline.Wave{{Name: "first", Clusters: []string{"eu", "uk", "us"}, Parallel: 2, Soak: time.Hour}, {Name: "last", Clusters: []string{"ap"}, Parallel: 5}},
	}
	part := rollout.Make([]rollout.Service{{Name: "web"}}, []*pipeline.Environment{prod})
	want := `apply/web@prod/ap [deploy_ap] render/web@prod/ap wave/prod/first.2
apply/web@prod/eu [deploy_eu] render/web@prod/eu rollout/prod
apply/web@prod/uk [deploy_uk] render/web@prod/uk rollout/prod
apply/web@prod/us [deploy_us] render/web@prod/us wave/prod/first.1
promote/web@prod [] apply/web@prod/ap apply/web@prod/eu apply/web@prod/uk apply/web@prod/us
rollout/prod [] release
verified/prod [] promote/web@prod
wave/prod/first.1 [] apply/web@prod/eu apply/web@prod/uk
wave/prod/first.2 [] apply/web@prod/us`
	if diff := cmp.Diff(want, show(part.Tasks)); diff != "" {
		t.Error(diff)
	}
	for _, task := range part.Tasks {
		if wait := map[string]int{"wave/prod/first.2": 3600}[task.ID]; task.Wait != wait || task.Kind == plan.KindRollout && task.Tolerate != 2 {
			t.Errorf("%s waits %d s, and tolerates %d", task.ID, task.Wait, task.Tolerate)
		}
	}
	if len(part.Rollbacks) != 4 || part.Rollbacks[0].Kind != plan.KindCatchUp || part.Rollbacks[0].ID != "catchup/web@prod/ap" {
		t.Errorf("%v", part.Rollbacks)
	}
	if prod.Waves[0].Soak != time.Hour || len(prod.Waves) != 2 {
		t.Error("the environment was changed")
	}
}
