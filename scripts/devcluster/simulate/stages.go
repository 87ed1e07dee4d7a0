package simulate

import (
	"bytes"
	"fmt"
	"strings"
	"text/template"

	"sigs.k8s.io/kwok/kustomize/stage/node/fast"
	heartbeat "sigs.k8s.io/kwok/kustomize/stage/node/heartbeat-with-lease"
	"sigs.k8s.io/kwok/pkg/apis/internalversion"
	"sigs.k8s.io/kwok/pkg/config"
)

// Annotation is what a pod template carries to fail; Delay makes any behavior set in later ("30s"), and LogAnnotation is what
// the container is said to have printed.
const (
	Annotation      = "slipway.dev/simulate"
	DelayAnnotation = "slipway.dev/simulate-delay"
	LogAnnotation   = "slipway.dev/simulate-log"
)

// behavior is one way for a pod to go wrong. State, LastState and Message are YAML or text in the language of KWOK's templates,
// in which $item is the container.
type behavior struct {
	name string
	// after is the state that the pod has to be in: "" for a pod just scheduled, "ready" for one that became ready before.
	after     string
	phase     string
	state     string
	lastState string
	restarts  int
	events    []event
	// repeats makes it happen again every ten seconds, up to five times, with one more restart each.
	repeats bool
	// log is what such a container has printed; logError, if set, is what the kubelet answers instead.
	log, logError string
}

type event struct{ kind, reason, message string }

func (e event) YAML() string {
	return fmt.Sprintf("{type: %s, reason: %s, message: %q}", e.kind, e.reason, e.message)
}

const (
	crashed   = `{terminated: {exitCode: 1, reason: Error, startedAt: {{ $now | Quote }}, finishedAt: {{ $now | Quote }}}}`
	killed    = `{terminated: {exitCode: 137, reason: OOMKilled, startedAt: {{ $now | Quote }}, finishedAt: {{ $now | Quote }}}}`
	backOff   = `{waiting: {reason: CrashLoopBackOff, message: {{ printf "back-off 10s restarting failed container=%s pod=%s_%s(%s)" $item.name $.metadata.name $.metadata.namespace $.metadata.uid | Quote }}}}`
	running   = `{running: {startedAt: {{ $now | Quote }}}}`
	noImage   = `{waiting: {reason: ImagePullBackOff, message: {{ printf "Back-off pulling image %q: ErrImagePull: failed to resolve reference %q: not found" $item.image $item.image | Quote }}}}`
	noConfig  = `{waiting: {reason: CreateContainerConfigError, message: {{ printf "secret \"%s-config\" not found" $item.name | Quote }}}}`
	panicked  = "simulated: starting\nsimulated: reading configuration\nsimulated: fatal: DATABASE_URL is not set\n"
	notServed = "simulated: starting\nsimulated: listening on :8080\nsimulated: GET /healthz 503 dependency unavailable\n"
)

func pulled() []event {
	return []event{
		{"Normal", "Pulled", "Container image already present on machine"},
		{"Normal", "Created", "Container created"},
		{"Normal", "Started", "Container started"},
	}
}

// behaviors are the values of Annotation.
func behaviors() []behavior {
	backingOff := event{"Warning", "BackOff", "Back-off restarting failed container"}
	unhealthy := event{"Warning", "Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 503"}
	return []behavior{
		{name: "never-ready", phase: "Running", state: running, events: append(pulled(), unhealthy), log: notServed},
		{
			name: "crash-loop", phase: "Running", state: backOff, lastState: crashed, restarts: 1,
			events: append(pulled(), backingOff), repeats: true, log: panicked,
		},
		{
			name: "oom-killed", phase: "Running", state: backOff, lastState: killed, restarts: 1,
			events: append(pulled(), backingOff), repeats: true, log: "simulated: starting\nsimulated: loading 4 GiB\n",
		},
		{
			name: "image-pull-backoff", phase: "Pending", state: noImage,
			events: []event{
				{"Warning", "Failed", "Failed to pull image: failed to resolve reference: not found"},
				{"Warning", "Failed", "Error: ErrImagePull"},
				{"Warning", "Failed", "Error: ImagePullBackOff"},
			},
			logError: "is waiting to start: trying and failing to pull image",
		},
		{
			name: "config-error", phase: "Pending", state: noConfig,
			events:   []event{{"Warning", "Failed", "Error: secret not found"}},
			logError: "is waiting to start: CreateContainerConfigError",
		},
		{
			name: "crash-after-ready", after: "ready", phase: "Running", state: backOff, lastState: crashed, restarts: 1,
			events: []event{backingOff}, log: panicked,
		},
		{name: "unready-after-ready", after: "ready", phase: "Running", state: running, events: []event{unhealthy}, log: notServed},
		{
			name: "job-failed", phase: "Failed", state: crashed,
			events: pulled(), log: panicked,
		},
	}
}

// never lists the behaviors in which a pod does not become ready first.
func never() []string {
	var names []string
	for _, b := range behaviors() {
		if b.after == "" {
			names = append(names, b.name)
		}
	}
	return names
}

// stages returns what KWOK plays, by kind of object.
func stages() (map[internalversion.StageResourceRef][]*internalversion.Stage, error) {
	texts := []string{fast.DefaultNodeInit, heartbeat.DefaultNodeHeartbeatWithLease}
	ready, err := render(readyStage, "["+strings.Join(never(), ", ")+"]")
	if err != nil {
		return nil, err
	}
	texts = append(texts, ready, completeStage, deleteStage)
	for _, b := range behaviors() {
		first, err := render(failStage, failure{behavior: b})
		if err != nil {
			return nil, err
		}
		texts = append(texts, first)
		if b.repeats {
			again, err := render(failStage, failure{behavior: b, Again: true})
			if err != nil {
				return nil, err
			}
			texts = append(texts, again)
		}
	}
	out := map[internalversion.StageResourceRef][]*internalversion.Stage{}
	for _, text := range texts {
		s, err := config.UnmarshalWithType[*internalversion.Stage](text)
		if err != nil {
			return nil, fmt.Errorf("read a KWOK stage: %w\n%s", err, text)
		}
		out[s.Spec.ResourceRef] = append(out[s.Spec.ResourceRef], s)
	}
	return out, nil
}

// failure is what failStage is rendered with.
type failure struct {
	behavior
	Again bool
}

func (f failure) Name() string      { return f.name }
func (f failure) After() string     { return f.after }
func (f failure) Phase() string     { return f.phase }
func (f failure) State() string     { return f.state }
func (f failure) LastState() string { return f.lastState }
func (f failure) Restarts() int     { return f.restarts }

func (f failure) Events() []event {
	if f.Again {
		return f.events[len(f.events)-1:]
	}
	return f.events
}

// render fills in a stage. KWOK has a template language of its own in the same braces, hence the brackets here.
func render(text string, data any) (string, error) {
	t, err := template.New("stage").Delims("[[", "]]").Parse(text)
	if err != nil {
		return "", fmt.Errorf("parse a stage: %w", err)
	}
	var b bytes.Buffer
	if err := t.Execute(&b, data); err != nil {
		return "", fmt.Errorf("render a stage: %w", err)
	}
	return b.String(), nil
}
