package server

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/slipway-build/slipway/coordinator/api"
	"github.com/slipway-build/slipway/coordinator/config"
	"github.com/slipway-build/slipway/coordinator/poll"
	"github.com/slipway-build/slipway/coordinator/run"
	"github.com/slipway-build/slipway/coordinator/source"
	"github.com/slipway-build/slipway/coordinator/webhook"
)

// polls looks for pushes that no host told of.
type polls struct {
	hooks  []config.Webhook
	mirror *source.Mirror
	runs   journalled
	memory func(ctx context.Context) (poll.Memory, error)
	log    *slog.Logger
}

// run looks until the context ends.
func (p polls) run(ctx context.Context, hooks *api.Webhooks) error {
	c := poll.Config{
		Heads: p.mirror.Heads, Log: p.log, Now: time.Now,
		Deal: func(ctx context.Context, r poll.Repository, push poll.Push) error { return p.deal(ctx, hooks, r, push) },
	}
	for _, w := range p.hooks {
		if w.Poll == 0 {
			continue
		}
		grace := w.Poll
		if w.Secret == "" {
			grace = 0
		}
		for _, repository := range w.Repositories {
			c.Repositories = append(c.Repositories, poll.Repository{Webhook: w.Name, Address: repository, Every: w.Poll, Grace: grace})
		}
	}
	if len(c.Repositories) == 0 {
		<-ctx.Done()
		return nil
	}
	var err error
	if c.Memory, err = p.memory(ctx); err != nil {
		return err
	}
	return poll.Run(ctx, c)
}

// deal begins the run of a push, unless there is one: the host told of it after all, or
// somebody asked for it.
func (p polls) deal(ctx context.Context, hooks *api.Webhooks, r poll.Repository, push poll.Push) error {
	runs, err := p.runs.Runs(ctx)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(runs, func(o *run.Run) bool {
		return o.Repository == r.Address && o.Ref == push.Branch && o.Commit == push.Commit
	}) {
		return nil
	}
	if _, err := p.mirror.Resolve(ctx, r.Address, "refs/heads/"+push.Branch); err != nil {
		return err
	}
	message, err := p.mirror.Message(ctx, r.Address, push.Commit)
	if err != nil {
		return fmt.Errorf("commit that was just there: %w", err)
	}
	if webhook.Skips(message) {
		return nil
	}
	return hooks.Found(ctx, r.Webhook, r.Address, webhook.Event{
		Kind: webhook.Push, CloneURL: r.Address, FullName: webhook.NameOf(r.Address), Branch: push.Branch, Commit: push.Commit, Before: push.Before,
	})
}
