package testrun

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/buildkit/client/llb"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/pb"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/slipway-build/slipway/internal/archive"
	"github.com/slipway-build/slipway/worker/runner"
)

// Of what an artifact unpacks to; what its files may have together when it is made is less.
const (
	maxUnpacked      = 4 << 30
	maxUnpackedFiles = 2 * maxArtifactFiles
)

// fetch has what other tests left in folders of the worker, of which BuildKit may read, until what it
// answers is called. The outcome is of what cannot be had, else nil.
func (a *attempt) fetch(ctx context.Context) (release func(), bad *runner.Outcome) {
	if len(a.work.Use) == 0 {
		return func() {}, nil
	}
	dir, err := a.fetchInto(ctx)
	release = func() { _ = os.RemoveAll(dir) }
	if err == nil {
		return release, nil
	}
	if o, ok := runner.Interrupted(ctx); ok {
		return release, &o
	}
	o := runner.Err("%s: %v; when it is not kept any more, a new run carries out again what made it", a.task.ID, err)
	o.Steps = a.watch.Steps()
	return release, &o
}

// fetchInto answers a folder with those of all artifacts.
func (a *attempt) fetchInto(ctx context.Context) (dir string, err error) {
	if err := os.MkdirAll(a.keeps.dir, 0o700); err != nil {
		return "", fmt.Errorf("make room for artifacts: %w", err)
	}
	if dir, err = os.MkdirTemp(a.keeps.dir, "use-"); err != nil {
		return "", fmt.Errorf("make room for artifacts: %w", err)
	}
	a.task.Folders = map[string]string{}
	for _, u := range a.work.Use {
		name := folderOf(u.Artifact)
		if _, ok := a.task.Folders[name]; ok {
			continue
		}
		step := a.watch.Begin(fmt.Sprintf("[test %s] fetch %s of %s", a.work.Name, u.Artifact.Name, u.Task), "fetch")
		at := filepath.Join(dir, name)
		if err := a.unpack(ctx, u.Artifact, at); err != nil {
			step.End(err.Error())
			return dir, fmt.Errorf("what %s left as %s cannot be had: %w", u.Task, u.Artifact.Name, err)
		}
		a.task.Folders[name] = at
		step.End("")
	}
	return dir, nil
}

// folderOf is the name of a folder with the files of an artifact. BuildKit takes a folder of the same name for the same,
// so it says what is in it. The name of a file is what a test chose, and as long as one may be: its digest stands for it.
func folderOf(a runner.Artifact) string {
	name := "artifact-" + strings.TrimPrefix(a.Digest, "sha256:")
	if a.File != "" {
		name += "-" + strings.TrimPrefix(sumOf([]byte(a.File)), "sha256:")[:32]
	}
	return name
}

// unpack writes the files of an artifact into a new folder.
func (a *attempt) unpack(ctx context.Context, from runner.Artifact, dir string) error {
	switch {
	case from.Digest == "":
		return errors.New("it was not left")
	case a.keeps.store == nil:
		return errors.New("this worker has nowhere to fetch it from")
	}
	packed, err := newSpool(a.keeps.dir)
	if err != nil {
		return err
	}
	defer packed.remove()
	if err := a.keeps.store.Get(ctx, from.Digest, packed); err != nil {
		return err //nolint:wrapcheck // the caller says what of
	}
	if got := packed.digest(); got != from.Digest {
		return fmt.Errorf("its bytes have the digest %s, not %s", got, from.Digest)
	}
	r, err := packed.reader()
	if err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o755); err != nil { //nolint:gosec // any user of the container reads it
		return fmt.Errorf("make a folder: %w", err)
	}
	if from.File == "" {
		_, err := archive.Unpack(dir, r, archive.Rules{Bytes: max(maxUnpacked, a.work.Limits.Each), Files: maxUnpackedFiles})
		return err //nolint:wrapcheck // as above
	}
	mode := os.FileMode(0o644)
	if from.Executable {
		mode = 0o755
	}
	return archive.Place(dir, from.File, mode, r) //nolint:wrapcheck // as above
}

// uses are the folders with what other tests left, as the container has them.
func (a *attempt) uses(ctx context.Context, c gateway.Client, config ocispecs.ImageConfig) ([]gateway.Mount, error) {
	var out []gateway.Mount
	for _, u := range a.work.Use {
		name := folderOf(u.Artifact)
		def, err := llb.Local(name, llb.SharedKeyHint(name), llb.WithCustomNamef("[test %s] %s of %s", a.work.Name, u.Artifact.Name, u.Task)).Marshal(ctx)
		if err != nil {
			return nil, fmt.Errorf("give a test what %s left: %w", u.Task, err)
		}
		res, err := c.Solve(ctx, gateway.SolveRequest{Definition: def.ToPB(), Evaluate: true})
		if err != nil {
			return nil, fmt.Errorf("give a test what %s left: %w", u.Task, err)
		}
		ref, err := res.SingleRef()
		if err != nil {
			return nil, fmt.Errorf("give a test what %s left: %w", u.Task, err)
		}
		out = append(out, gateway.Mount{Dest: within(config.WorkingDir, u.Path), MountType: pb.MountType_BIND, Ref: ref, Readonly: true})
	}
	return out, nil
}
