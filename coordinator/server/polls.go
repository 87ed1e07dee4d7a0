package server

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/slipway-build/slipway/coordinator/api"
	"github.com/slipway-build/slipway/coordinator/config"
	"github.com/slipway-build/slipway/coordinator/partition"
	"github.com/slipway-build/slipway/coordinator/poll"
	"github.com/slipway-build/slipway/coordinator/source"
	"github.com/slipway-build/slipway/coordinator/webhook"
	"github.com/slipway-build/slipway/internal/rpc"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// polls looks for pushes that no host told of. Of several coordinators the one does that
// owns the first partition.
type polls struct {
	hooks  []config.Webhook
	mirror *source.Mirror
	parts  *partition.Set
	runs   pb.RunServiceServer
	memory func(ctx context.Context) (poll.Memory, error)
	log    *slog.Logger
}

func newPolls(cfg config.Config, js jetstream.JetStream, mirror *source.Mirror, parts *partition.Set, runs pb.RunServiceServer, log *slog.Logger) polls {
	heads := func(ctx context.Context) (poll.Memory, error) { return poll.Open(ctx, js, cfg.Replicas) }
	return polls{cfg.Webhooks, mirror, parts, runs, heads, log}
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
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		if p.parts.All()[0].Here() {
			if err := p.while(ctx, c); err != nil {
				return err
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// while looks as long as this coordinator is the one that does.
func (p polls) while(ctx context.Context, c poll.Config) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var watching sync.WaitGroup
	defer watching.Wait()
	watching.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for p.parts.All()[0].Here() {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
		cancel()
	})
	var err error
	if c.Memory, err = p.memory(ctx); err != nil {
		return err
	}
	err = poll.Run(ctx, c)
	cancel()
	return err
}

// deal begins the run of a push, unless there is one: the host told of it after all, or
// somebody asked for it.
func (p polls) deal(ctx context.Context, hooks *api.Webhooks, r poll.Repository, push poll.Push) error {
	// As a coordinator, which may look at all of them.
	newest, err := p.runs.List(rpc.WithIdentity(ctx, rpc.Identity{Name: "poll", Role: pb.Role_ROLE_VIEW}), &pb.ListRequest{Limit: api.MaxLimit})
	if err != nil {
		return fmt.Errorf("look for a run of the push: %w", err)
	}
	if slices.ContainsFunc(newest.GetRuns(), func(o *pb.Run) bool {
		return o.GetRepository() == r.Address && o.GetRef() == push.Branch && o.GetCommit() == push.Commit
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
