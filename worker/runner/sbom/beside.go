package sbom

import (
	"context"
	"errors"
	"time"

	"github.com/slipway-build/slipway/worker/runner"
	"github.com/slipway-build/slipway/worker/runner/sources"
)

// Store keeps documents.
type Store interface {
	// PutBlob stores data and answers its digest, "sha256:…".
	PutBlob(ctx context.Context, data []byte) (string, error)
}

// maxSize of a document, in bytes: it can be attested of an image, too.
const maxSize = 32 << 20

// Beside makes the document of each build that wants one, once its image is there.
func Beside(s Store) runner.Decorator {
	return func(next runner.Runner) runner.Runner {
		return runner.Func(func(ctx context.Context, t runner.Task, r runner.Report) runner.Outcome {
			o := next.Run(ctx, t, r)
			work, ok := t.Work.(runner.Build)
			if !ok || !work.SBOM || o.Kind != runner.Succeeded {
				return o
			}
			begin := time.Now()
			data, err := Make(ctx, t.Workspace, work.Paths, About{Service: t.Service, Version: t.Commit, Created: begin})
			if err == nil && len(data) > maxSize {
				err = sources.Mistakef("it has %d bytes, at most %d: leave out lock files that are not the service's own", len(data), maxSize)
			}
			if err == nil {
				o.Result.SBOM, err = s.PutBlob(ctx, data)
			}
			if i, ok := runner.Interrupted(ctx); ok && err != nil {
				return i
			}
			var mistake *sources.Mistake
			switch {
			case errors.As(err, &mistake):
				return runner.Fail("the image was built, and its SBOM cannot be made: %v", err)
			case err != nil:
				return runner.Err("the image was built, and its SBOM could not be kept: %v", err)
			}
			o.Steps = append(o.Steps, runner.Step{Name: "list packages", Kind: "sbom", Started: begin, Finished: time.Now()})
			return o
		})
	}
}
