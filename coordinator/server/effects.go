package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/slipway-build/slipway/coordinator/artifact"
	"github.com/slipway-build/slipway/coordinator/config"
	"github.com/slipway-build/slipway/coordinator/findings"
	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/proposal"
	"github.com/slipway-build/slipway/coordinator/source"
)

// judges is how many services are judged or signed at once, of all partitions of a coordinator.
const judges = 3

// effects are what only the coordinator does for tasks.
type effects struct {
	mirror  *source.Mirror
	blobs   *artifact.Store
	signer  *signer // nil: nothing is signed
	pulls   *proposal.Proposer
	judging chan struct{} // has room for those that judge and sign at once: reports and SBOMs may be large
}

func (e effects) Pin(ctx context.Context, repository, commit, run string) error {
	return e.mirror.Pin(ctx, repository, commit, run)
}

func (e effects) PutBlob(ctx context.Context, _ string, data []byte) (string, error) {
	return e.blobs.Put(ctx, data)
}

// enter waits for room among those that judge and sign.
func (e effects) enter(ctx context.Context) (leave func(), err error) {
	select {
	case e.judging <- struct{}{}:
		return func() { <-e.judging }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (e effects) Judge(ctx context.Context, _ string, in findings.Input) (plan.FindingsSummary, string, error) {
	leave, err := e.enter(ctx)
	if err != nil {
		return plan.FindingsSummary{}, "", err
	}
	defer leave()
	return findings.Judge(ctx, reports{e.blobs}, in)
}

// reports are the blobs of findings.
type reports struct{ *artifact.Store }

// Get says of what is lost that it is gone.
func (r reports) Get(ctx context.Context, digest string) ([]byte, error) {
	data, err := r.Store.Get(ctx, digest)
	if errors.Is(err, artifact.ErrNotFound) || errors.Is(err, artifact.ErrCorrupt) {
		err = fmt.Errorf("%w: %w", findings.ErrGone, err)
	}
	return data, err
}

func (e effects) Sign(ctx context.Context, _, key string, built plan.Result) (message string, err error) {
	leave, err := e.enter(ctx)
	if err != nil {
		return "", err
	}
	defer leave()
	return e.signer.sign(ctx, key, built)
}

// advisoriesOf a folder; nil: there is none.
func advisoriesOf(dir string, blobs *artifact.Store, log *slog.Logger) func(context.Context) (string, error) {
	if dir == "" {
		return nil
	}
	return findings.NewAdvisories(dir, reports{blobs}, log).Digest
}

// newEffects opens the mirror, and reads the key that images are signed with.
func newEffects(cfg config.Config, version string, env []string, blobs *artifact.Store) (*source.Mirror, effects, error) {
	mirror, err := newMirror(cfg, env)
	if err != nil {
		return nil, effects{}, err
	}
	pulls, err := newProposals(cfg, version, mirror)
	if err != nil {
		return nil, effects{}, err
	}
	signs, err := newSigner(cfg.Signing, keychain(cfg.RegistryAuth), blobs)
	return mirror, effects{mirror, blobs, signs, pulls, make(chan struct{}, judges)}, err
}
