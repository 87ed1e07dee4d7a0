package server

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/slipway-build/slipway/coordinator/check"
	"github.com/slipway-build/slipway/coordinator/config"
	"github.com/slipway-build/slipway/coordinator/githost"
	"github.com/slipway-build/slipway/coordinator/partition"
	"github.com/slipway-build/slipway/coordinator/proposal"
	"github.com/slipway-build/slipway/coordinator/run"
	"github.com/slipway-build/slipway/coordinator/source"
	"github.com/slipway-build/slipway/coordinator/webhook"
)

// newTeller tells the hosts of webhooks that have a token for it.
func newTeller(cfg config.Config, version string, memory func() (check.Memory, error), log *slog.Logger) (*check.Teller, error) {
	c := check.Config{Hooks: map[string]check.Hook{}, URL: strings.TrimRight(cfg.PublicURL, "/"), Log: log, Now: time.Now}
	hosts, err := newHosts(cfg, version)
	if err != nil {
		return nil, err
	}
	for name, h := range hosts {
		c.Hooks[name] = h.Hook()
	}
	if len(c.Hooks) > 0 {
		if c.Memory, err = memory(); err != nil {
			return nil, err
		}
	}
	return check.New(c), nil
}

// newHosts are those of webhooks that have a token, by name.
func newHosts(cfg config.Config, version string) (map[string]*githost.Host, error) {
	out := map[string]*githost.Host{}
	for _, w := range cfg.Webhooks {
		if w.Check.Token == "" {
			continue
		}
		h, err := githost.New(githost.Config{Kind: webhook.Kind(w.Kind), API: w.Check.API, Token: w.Check.Token, Agent: "slipway/" + version, Now: time.Now})
		if err != nil {
			return nil, fmt.Errorf("webhook %s: %w", w.Name, err)
		}
		out[w.Name] = h
	}
	return out, nil
}

// newProposals open pull requests at the hosts of webhooks that have a token.
func newProposals(cfg config.Config, version string, mirror *source.Mirror) (*proposal.Proposer, error) {
	hosts, err := newHosts(cfg, version)
	if err != nil {
		return nil, err
	}
	c := proposal.Config{Mirror: mirror, Hosts: map[string]proposal.Host{}}
	for _, w := range cfg.Webhooks {
		for _, repository := range w.Repositories {
			if h, ok := hosts[w.Name]; ok && c.Hosts[repository] == nil {
				c.Hosts[repository] = h
			}
		}
	}
	return proposal.New(c), nil
}

// journalled reads runs from their partitions.
type journalled struct{ parts *partition.Set }

func (j journalled) Runs(ctx context.Context) ([]*run.Run, error) {
	return j.parts.List(ctx, "", 1<<30)
}

func (j journalled) Run(ctx context.Context, project, id string) (r *run.Run, err error) {
	home, err := j.parts.Home(ctx, project)
	if err != nil {
		return nil, err
	}
	err = j.parts.FindIn(ctx, home, id, func(_ *partition.Tx, found *run.Run) error {
		r = found
		return nil
	})
	return r, err
}
