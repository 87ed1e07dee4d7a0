package server

import (
	"context"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/slipway-build/slipway/worker/background"
	"github.com/slipway-build/slipway/worker/runner"
	"github.com/slipway-build/slipway/worker/runner/buildkit"
)

// cache of builds that this worker shares with others; nil: it has none. Exports are held back where the disk (nil: it is
// not watched) is short.
func (s *Server) cache(bk *buildkit.Client, disk *runner.Disk, registry prometheus.Registerer) (cache *buildkit.Cache, stop func() error, err error) {
	if s.cfg.Cache == nil {
		return nil, func() error { return nil }, nil
	}
	found := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "slipway_worker_cache_reads_total", Help: "How builds and tests of services that this worker did not know found the cache in the registry.",
	}, []string{"result"})
	if err := registry.Register(found); err != nil {
		return nil, nil, fmt.Errorf("register metric of the build cache: %w", err)
	}
	for _, r := range []string{buildkit.CacheFound, buildkit.CacheMissing, buildkit.CacheFailed} {
		found.WithLabelValues(r)
	}
	cfg := background.Config{
		What: "build cache export", Log: s.log, Registry: registry,
		Count: prometheus.Opts{Name: "slipway_worker_cache_exports_total", Help: "How exports to the cache in the registry ended."},
	}
	if disk != nil {
		cfg.Held = disk.Short
	}
	exports, err := background.New(cfg)
	if err != nil {
		return nil, nil, err
	}
	cache = buildkit.NewCache(bk, buildkit.CacheConfig{
		Registry: s.cfg.Cache.Registry, Log: s.log, Count: func(result string) { found.WithLabelValues(result).Inc() },
		Later: func(key string, run func(context.Context) error, done func()) {
			exports.Add(background.Job{Key: key, Run: run, Done: done})
		},
	})
	return cache, func() error {
		err := exports.Close()
		cache.Close()
		return err
	}, nil
}
