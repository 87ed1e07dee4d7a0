// Package secret turns the names of secrets into values, for one lease: it decides
// whether a task may have them, and reads each from the provider that targets.yaml
// names.
//
// It keeps nothing: a value that was rotated is the new one for the next attempt. It
// writes values nowhere, and no error of it holds one. How they reach a worker is
// session's business.
package secret

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/slipway-build/slipway/coordinator/pipeline"
	"github.com/slipway-build/slipway/coordinator/plan"
)

// Limits of values. A shorter one could not be masked without masking half of every
// log; a longer one is no secret but a file.
const (
	MinSize   = 4
	MaxSize   = 64 << 10
	MaxOfTask = 128 << 10 // all values of one task together
)

// ErrRefused is in the errors that trying again does not mend: the task has failed.
var ErrRefused = errors.New("no secrets for this task")

// Provider reads one kind of place.
type Provider interface {
	// Resolve answers the value of s. Its errors name the place, never the value.
	Resolve(ctx context.Context, s *pipeline.Secret) ([]byte, error)
}

// Config of a Store.
type Config struct {
	// Targets are the platform team's for a project, read anew; nil if there are none.
	Targets func(project string) (*pipeline.Targets, error)
	// LookupEnv finds a variable of the coordinator's environment.
	LookupEnv  func(name string) (string, bool)
	Kubernetes Kubernetes
}

// Store resolves the secrets of tasks.
type Store struct {
	targets               func(project string) (*pipeline.Targets, error)
	file, env, kubernetes Provider
}

// New makes a Store. It reads nothing yet.
func New(cfg Config) *Store {
	return &Store{targets: cfg.Targets, file: file{}, env: env{cfg.LookupEnv}, kubernetes: &cluster{cfg: cfg.Kubernetes}}
}

// Uses are the secrets that a task needs, by name, with what each is used for.
func Uses(t *plan.Task) map[string][]string {
	out := map[string][]string{}
	add := func(names map[string]string, use string) {
		for _, name := range names {
			if !slices.Contains(out[name], use) {
				out[name] = append(out[name], use)
			}
		}
	}
	if t.Build != nil {
		add(t.Build.Secrets, pipeline.UseBuild)
	}
	if test := t.Command(); test != nil {
		add(test.Build.Secrets, pipeline.UseBuild)
		add(test.Secret, pipeline.UseTest)
		for _, s := range test.Sidecars {
			add(s.Secret, pipeline.UseTest)
		}
	}
	return out
}

// Allowed says why a task must not have its secrets: whoever may change the commit
// could print them. It is decided again at each lease, so that what the platform team
// takes back is taken back.
func Allowed(uses map[string][]string, trusted bool, project string, t *pipeline.Targets) error {
	names := slices.Sorted(maps.Keys(uses))
	if len(names) == 0 {
		return nil
	}
	if !trusted {
		return fmt.Errorf("%w: it needs the secret %q, and the commit is not from this repository; commits of forks get no secrets, "+
			"since they could print them; push the commit to a branch of the repository once somebody has read it", ErrRefused, names[0])
	}
	if t == nil || t.Project != project {
		return fmt.Errorf("%w: it needs the secret %q, and the coordinator has no targets.yaml of project %s, which says where secrets are kept", ErrRefused, names[0], project)
	}
	for _, name := range names {
		s, ok := t.Secret(name)
		if !ok {
			return fmt.Errorf("%w: secret %q is no longer in targets.yaml; add it there, or remove it from %s", ErrRefused, name, pipeline.File)
		}
		for _, use := range uses[name] {
			if !slices.Contains(s.For, use) {
				return fmt.Errorf("%w: secret %q is no longer for %s; see %s", ErrRefused, name, use, s.Pos)
			}
		}
	}
	return nil
}

// Resolve answers the values of all secrets of a task, by name. Errors that are
// ErrRefused do not go away by trying again.
func (s *Store) Resolve(ctx context.Context, t *plan.Task, project string, trusted bool) (map[string][]byte, error) {
	uses := Uses(t)
	targets, err := s.targets(project)
	if err != nil {
		return nil, fmt.Errorf("secrets of %s: %w", t.ID, err)
	}
	if err := Allowed(uses, trusted, project, targets); err != nil {
		return nil, err
	}
	out := make(map[string][]byte, len(uses))
	total := 0
	for _, name := range slices.Sorted(maps.Keys(uses)) {
		def, _ := targets.Secret(name)
		value, err := s.one(ctx, def)
		if total += len(value); err == nil && total > MaxOfTask {
			err = fmt.Errorf("the secrets of a task may have %d KiB together", MaxOfTask>>10)
		}
		if err != nil {
			Wipe(out)
			return nil, fmt.Errorf("secret %q of targets.yaml: %w", name, err)
		}
		out[name] = value
	}
	return out, nil
}

func (s *Store) one(ctx context.Context, def *pipeline.Secret) ([]byte, error) {
	var p Provider
	switch {
	case def.File != "":
		p = s.file
	case def.Env != "":
		p = s.env
	default:
		p = s.kubernetes
	}
	value, err := p.Resolve(ctx, def)
	if err != nil {
		return nil, err
	}
	if len(value) > MaxSize {
		return nil, fmt.Errorf("it has more than %d KiB; a secret is a password, a token, a key or a certificate", MaxSize>>10)
	}
	value = line(value)
	if len(value) < MinSize {
		return nil, fmt.Errorf("it has %d bytes; a value of less than %d cannot be kept out of logs, and is soon guessed", len(value), MinSize)
	}
	return value, nil
}

// line takes the line break from the end of a value that is one line: editors and echo
// put it there, and no server takes it for a part of a password. Keys and certificates
// of several lines need theirs.
func line(value []byte) []byte {
	cut := bytes.TrimSuffix(bytes.TrimSuffix(value, []byte("\n")), []byte("\r"))
	if bytes.ContainsRune(cut, '\n') {
		return value
	}
	return cut
}

// Wipe overwrites values. Copies that the runtime made meanwhile are not found.
func Wipe(values map[string][]byte) {
	for _, v := range values {
		clear(v[:cap(v)])
	}
}
