package findings

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"

	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/internal/advisories"
)

// Advisories are what packages are compared with: a folder that somebody keeps up to date, as a blob.
type Advisories struct {
	dir   string
	store Store
	log   *slog.Logger

	mu     sync.Mutex
	seen   string // of the files, as they were when they were read
	digest string
}

// NewAdvisories are those of a folder.
func NewAdvisories(dir string, s Store, log *slog.Logger) *Advisories {
	return &Advisories{dir: dir, store: s, log: log}
}

// Digest is that of the blob with what the folder holds now. The files are read when one of them has
// another name, size or time than before. While they cannot be read, as when they are being replaced,
// the ones before are good enough, and the log says so.
func (a *Advisories) Digest(ctx context.Context) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	digest, err := a.read(ctx)
	if err != nil && a.digest != "" {
		a.log.ErrorContext(ctx, "advisories stay as they were", "err", err)
		return a.digest, nil
	}
	return digest, err
}

func (a *Advisories) read(ctx context.Context) (string, error) {
	tree := os.DirFS(a.dir)
	seen, err := glance(tree)
	if err != nil {
		return "", fmt.Errorf("read the coordinator's advisories: %w", err)
	}
	if seen == a.seen {
		return a.digest, nil
	}
	data, err := advisories.Pack(tree)
	if err != nil {
		return "", fmt.Errorf("read the coordinator's advisories in %s: %w", a.dir, err)
	}
	digest, err := a.store.Put(ctx, data)
	if err != nil {
		return "", fmt.Errorf("store advisories: %w", err)
	}
	a.seen, a.digest = seen, digest
	return digest, nil
}

// glance is a hash of the names, sizes and times of files.
func glance(tree fs.FS) (string, error) {
	var text []byte
	err := fs.WalkDir(tree, ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		i, err := e.Info()
		if err != nil {
			return err
		}
		text = fmt.Appendf(text, "%q %d %d\n", name, i.Size(), i.ModTime().UnixNano())
		return nil
	})
	return plan.Sum(text), err
}
