package apply

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/slipway-build/slipway/deploy/manifest"
)

// FieldManager is the one name under which Slipway writes.
const FieldManager = "slipway"

// Labels say whose an object is; annotations say which release wrote it last. They sit on the top-level object only: a change
// on a pod template would restart pods.
const (
	LabelManagedBy   = "app.kubernetes.io/managed-by"
	LabelProject     = "slipway.dev/project"
	LabelService     = "slipway.dev/service"
	LabelEnvironment = "slipway.dev/environment"

	AnnotationFence       = "slipway.dev/fence"
	AnnotationRelease     = "slipway.dev/release"
	AnnotationRun         = "slipway.dev/run"
	AnnotationTraceparent = "slipway.dev/traceparent"
	AnnotationKeep        = "slipway.dev/keep"
	AnnotationAdopted     = "slipway.dev/adopted" // whose the object was before Slipway took it over
)

const managedBy = "slipway"

// Target is where one service of one environment lives in one cluster.
type Target struct {
	Project, Service, Environment, Namespace string
}

// Labels that the objects of the target carry.
func (t Target) Labels() map[string]string {
	return map[string]string{
		LabelManagedBy: managedBy, LabelProject: t.Project, LabelService: t.Service, LabelEnvironment: t.Environment,
	}
}

// Everything finds the objects of all targets.
func Everything() string { return LabelManagedBy + "=" + managedBy }

// Owns reports whether obj carries the target's labels.
func (t Target) Owns(obj v1.Object) bool {
	have := obj.GetLabels()
	return have[LabelManagedBy] == managedBy && have[LabelProject] == t.Project && have[LabelService] == t.Service && have[LabelEnvironment] == t.Environment
}

// Fence orders the effects of a project: a later lease has the higher one.
type Fence struct{ Epoch, Counter uint64 }

func (f Fence) String() string { return fmt.Sprintf("%d.%d", f.Epoch, f.Counter) }

// Compare is negative when f is older than other.
func (f Fence) Compare(other Fence) int {
	return cmp.Or(cmp.Compare(f.Epoch, other.Epoch), cmp.Compare(f.Counter, other.Counter))
}

var errNoFence = errors.New(`is no fence; expected "epoch.counter"`)

// ParseFence reads the annotation.
func ParseFence(text string) (Fence, error) {
	epoch, counter, _ := strings.Cut(text, ".")
	e, errEpoch := strconv.ParseUint(epoch, 10, 64)
	c, errCounter := strconv.ParseUint(counter, 10, 64)
	if errEpoch != nil || errCounter != nil {
		return Fence{}, fmt.Errorf("%q %w", text, errNoFence)
	}
	return Fence{Epoch: e, Counter: c}, nil
}

// Stamp is what a write says about itself. It is written only together with a real change.
type Stamp struct {
	Fence       Fence
	Release     string
	Run         string
	Traceparent string
}

func (s Stamp) annotations() map[string]string {
	out := map[string]string{AnnotationFence: s.Fence.String()}
	for key, value := range map[string]string{
		AnnotationRelease: s.Release, AnnotationRun: s.Run, AnnotationTraceparent: s.Traceparent,
	} {
		if value != "" {
			out[key] = value
		}
	}
	return out
}

func stampKeys() []string {
	return []string{AnnotationFence, AnnotationRelease, AnnotationRun, AnnotationTraceparent}
}

// ErrSuperseded is in the chain of every *SupersededError.
var ErrSuperseded = errors.New("superseded")

// SupersededError means that a newer lease has already written: this deployer has lost its task and must stop.
type SupersededError struct {
	Object  string
	Mine    Fence
	Live    Fence
	Release string // of the live object
}

func (e *SupersededError) Error() string {
	return fmt.Sprintf("%s was written under fence %s (release %s), which is newer than this lease's %s; nothing more is written. "+
		"If the coordinator's journal was started anew, remove the annotation %s from the object",
		e.Object, e.Live, orNone(e.Release), e.Mine, AnnotationFence)
}

func (e *SupersededError) Unwrap() error { return ErrSuperseded }

func orNone(text string) string {
	if text == "" {
		return "unknown"
	}
	return text
}

// CheckFence returns a *SupersededError when the live object was written under a newer fence than mine.
func CheckFence(live v1.Object, ref manifest.Ref, mine Fence) error {
	text, ok := live.GetAnnotations()[AnnotationFence]
	if !ok {
		return nil
	}
	fence, err := ParseFence(text)
	if err != nil {
		return fmt.Errorf("%s: annotation %s: %w", ref, AnnotationFence, err)
	}
	if fence.Compare(mine) > 0 {
		return &SupersededError{Object: ref.String(), Mine: mine, Live: fence, Release: live.GetAnnotations()[AnnotationRelease]}
	}
	return nil
}
