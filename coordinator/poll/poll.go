// Package poll finds pushes that no event told of: those of hosts that cannot call, and
// those that a host told while nobody listened. It asks a repository for its branches
// now and then, and compares them with what it has seen.
//
// It starts no run itself, and does not find pull requests, which are not in a
// repository's branches.
package poll

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"maps"
	"time"

	"golang.org/x/sync/errgroup"
)

// Repository is one that is asked.
type Repository struct {
	Webhook string // whose repository it is
	Address string
	Every   time.Duration
	// Grace is how long a push is left to the host to tell of; 0: it tells of none.
	Grace time.Duration
}

// Memory is what was seen of repositories. When it forgets, pushes since then are missed.
type Memory interface {
	// Load answers the heads of the branches; nil: the repository was never looked at.
	Load(ctx context.Context, key string) (map[string]string, error)
	Save(ctx context.Context, key string, heads map[string]string) error
}

// Config of a Poller.
type Config struct {
	Repositories []Repository
	Memory       Memory
	// Heads asks a repository for its branches and their commits.
	Heads func(ctx context.Context, repository string) (map[string]string, error)
	// Deal makes of a push what its event would have become. An error: it is tried again.
	Deal func(ctx context.Context, r Repository, p Push) error
	Log  *slog.Logger
	Now  func() time.Time
}

// Run asks until the context ends. Repositories do not wait for each other.
func Run(ctx context.Context, cfg Config) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, r := range cfg.Repositories {
		g.Go(func() error {
			p := poller{cfg: cfg, of: r}
			for ctx.Err() == nil {
				p.look(ctx)
				select {
				case <-time.After(r.Every):
				case <-ctx.Done():
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// poller is that of one repository.
type poller struct {
	cfg    Config
	of     Repository
	loaded bool
	seen   seen
	// unsaved: Memory does not have what was seen.
	unsaved bool
}

// look asks once. What goes wrong is tried again the next time.
func (p *poller) look(ctx context.Context) {
	log := p.cfg.Log.With("webhook", p.of.Webhook, "repository", p.of.Address)
	if !p.loaded {
		heads, err := p.cfg.Memory.Load(ctx, p.of.key())
		if err != nil {
			log.WarnContext(ctx, "what was seen of a repository is not known yet", "err", err)
			return
		}
		p.loaded, p.seen = true, seen{known: heads != nil, heads: heads, since: map[string]since{}}
	}
	heads, err := p.cfg.Heads(ctx, p.of.Address)
	if err != nil {
		log.WarnContext(ctx, "repository not looked at", "err", err)
		return
	}
	before := maps.Clone(p.seen.heads)
	p.unsaved = p.unsaved || !p.seen.known
	for _, push := range p.seen.decide(heads, p.cfg.Now(), p.of.Grace) {
		if err := p.cfg.Deal(ctx, p.of, push); err != nil {
			log.WarnContext(ctx, "push found, and not dealt with yet", "branch", push.Branch, "commit", push.Commit, "err", err)
			continue
		}
		p.seen.done(push)
	}
	if p.unsaved = p.unsaved || !maps.Equal(before, p.seen.heads); !p.unsaved {
		return
	}
	if err := p.cfg.Memory.Save(ctx, p.of.key(), p.seen.heads); err != nil {
		log.WarnContext(ctx, "what was seen of a repository is not remembered", "err", err)
		return
	}
	p.unsaved = false
}

func (r Repository) key() string {
	sum := sha256.Sum256([]byte(r.Webhook + "\n" + r.Address))
	return hex.EncodeToString(sum[:])
}
