package planner

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-build/slipway/coordinator/affected"
	"github.com/slipway-build/slipway/coordinator/pipeline"
	"github.com/slipway-build/slipway/coordinator/plan"
)

// tests adds the tests of all services, those whose artifacts others use first.
func (p *planner) tests() {
	for _, at := range p.testOrder() {
		s, t := at.service, at.test
		b := p.builds[s.Name]
		needs := []string{plan.CheckoutID}
		for _, context := range b.Contexts {
			needs = append(needs, plan.BuildID(context))
		}
		switch {
		case t.Target != "":
			b.Target = t.Target
		case t.In != "":
			b.Target = t.In
		default: // in the built image, which is there then
			needs = append(needs, plan.BuildID(s.Name))
		}
		p.test(s, t, b, needs)
	}
}

// test adds the task of one test, or those that share it and the one that gathers what they found.
func (p *planner) test(s *pipeline.Service, t *pipeline.Test, b plan.Build, needs []string) {
	var secrets map[string]string
	if t.Run != "" {
		secrets = names(t.Secrets)
	}
	sidecars, defined := p.sidecars(t)
	use, given, makers := p.uses(t)
	needs = append(needs, makers...)
	inputs := affected.TestInputs{
		Build: p.digests[s.Name], Run: t.Run, In: t.In, Target: t.Target, Env: t.Env, Secret: secrets, Report: t.Report, Runner: p.in.Runner,
		Sidecars: defined, List: t.List, Artifacts: patterns(t.Artifacts), Coverage: t.Coverage, Use: given,
	}
	task := plan.Task{
		ID: plan.TestID(s.Name, t.Name), Kind: plan.KindTest, Service: s.Name, Needs: needs, Can: plan.CapabilityBuild,
		Group: t.Group, Quarantine: p.quarantine(s, t), Reason: p.why(s), Timeout: seconds(t.Timeout), Infra: t.Infra, Flaky: t.Flaky, RetryTimeout: t.RetryTimeout, RetryOOM: t.RetryOOM,
	}
	spec := plan.Test{Name: t.Name, Build: b, Run: t.Run, Secret: secrets, Report: t.Report, Sidecars: sidecars, Coverage: t.Coverage, Artifacts: inputs.Artifacts, Required: p.required[plan.TestID(s.Name, t.Name)], Use: use}
	if t.Shards != 0 {
		p.shards(s, t, task, spec, inputs)
		return
	}
	task.Digest = affected.TestDigest(inputs)
	p.testDigests[task.ID] = task.Digest
	_, spec.Build.Fresh = p.in.Forgotten[task.Digest]
	spec.Env = maps.Clone(t.Env)
	task.Test = &spec
	p.add(task)
}

// shards adds the task that gathers, and the shards unless it is reused. Its digest does not depend
// on how the test is split: what times taught since does not undo what is known.
func (p *planner) shards(s *pipeline.Service, t *pipeline.Test, task plan.Task, spec plan.Test, inputs affected.TestInputs) {
	timing := p.in.History[task.ID].Items
	n, whole := p.count(t, timing), inputs
	if t.List == "" { // it splits itself, and finds what it finds because of their number
		whole.Split = fmt.Sprintf("%d shards", n)
	}
	gather := plan.Task{
		ID: task.ID, Kind: plan.KindGather, Service: s.Name, Needs: slices.Clone(task.Needs), Digest: affected.TestDigest(whole),
		Reason: fmt.Sprintf("adds up %d shards", n), Quarantine: task.Quarantine,
	}
	at := len(p.tasks)
	p.add(gather)
	if p.tasks[at].Reuse != nil {
		return
	}
	p.tasks[at].Needs = nil
	if _, ok := p.in.Forgotten[gather.Digest]; ok {
		p.forgotten[task.ID], spec.Build.Fresh, task.Reason = true, true, p.in.Forgotten[gather.Digest]
	}
	if t.List != "" && len(timing) > 0 {
		p.timings = append(p.timings, plan.Timing{Test: task.ID, Items: timing})
	}
	for number := 1; number <= n; number++ {
		shard, part, inputs := task, spec, inputs
		shard.ID, shard.Needs = plan.ShardID(s.Name, t.Name, number, n), slices.Clone(task.Needs)
		part.Shard = &plan.Shard{Test: task.ID, Number: number, Of: n, List: t.List}
		part.Env = maps.Clone(t.Env)
		if part.Env == nil {
			part.Env = map[string]string{}
		}
		part.Env["SLIPWAY_SHARD"], part.Env["SLIPWAY_SHARDS"] = strconv.Itoa(number), strconv.Itoa(n)
		if inputs.Env = part.Env; t.List != "" {
			inputs.Split = plan.Sum([]byte(encoded(timing)))
		}
		shard.Digest, shard.Test = affected.TestDigest(inputs), &part
		p.add(shard)
		p.tasks[at].Needs = append(p.tasks[at].Needs, shard.ID)
	}
	slices.Sort(p.tasks[at].Needs)
}

// quarantine of a test: none, where nothing would be put there by itself and nothing is there.
func (p *planner) quarantine(s *pipeline.Service, t *pipeline.Test) *plan.Quarantine {
	held := p.in.History[plan.TestID(s.Name, t.Name)].Held
	q := t.Quarantine
	switch {
	case q != nil:
		return &plan.Quarantine{
			After: cmp.Or(q.After, plan.QuarantineAfter), Days: cmp.Or(q.Days, plan.QuarantineDays), Release: cmp.Or(q.Release, plan.QuarantineRelease), Cases: held,
		}
	case len(held) > 0:
		return &plan.Quarantine{Days: plan.QuarantineDays, Release: plan.QuarantineRelease, Cases: held}
	default:
		return nil
	}
}

// How many shards a test has that does not say.
const (
	shardTakes  = int64(time.Minute / time.Millisecond)
	firstShards = 4 // of a test that has not been measured
)

// count of the shards of a test: as many as it says, or as have about a minute each to do.
func (p *planner) count(t *pipeline.Test, timing []plan.Item) int {
	if t.Shards != pipeline.AutoShards {
		return t.Shards
	}
	if len(timing) == 0 {
		return firstShards
	}
	total := int64(0)
	for _, i := range timing {
		total += i.Millis
	}
	return int(min(max(1, (total+shardTakes-1)/shardTakes), int64(len(timing)), pipeline.MaxShards))
}

// sidecars of a test, and the text that tells them from others.
func (p *planner) sidecars(t *pipeline.Test) (list []plan.Sidecar, defined string) {
	for _, ref := range t.Sidecars {
		s, ok := p.in.Pipeline.Sidecar(ref.Name)
		if !ok {
			continue // the parser has said so
		}
		list = append(list, plan.Sidecar{Name: s.Name, Image: p.pinned(s.Image), Run: s.Run, Env: maps.Clone(s.Env), Secret: names(s.Secrets), Ready: s.Ready})
	}
	if len(list) == 0 {
		return nil, ""
	}
	text, err := json.Marshal(list)
	if err != nil {
		panic(err) // strings and maps of strings
	}
	return list, string(text)
}

// pinned is an image by the digest that its tag means now, where that is known.
func (p *planner) pinned(image string) string {
	if t := p.in.Tags[image]; t.Digest != "" && !strings.Contains(image, "@") {
		return image + "@" + t.Digest
	}
	return image
}
