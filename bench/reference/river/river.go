// Package river is the queue River on Debian's PostgreSQL: one process that puts jobs which
// do nothing into it, in batches, and works them with 64 workers.
package river

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	queue "github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"

	"github.com/slipway-build/slipway/bench/node"
	"github.com/slipway-build/slipway/bench/reference"
)

// How River is tuned: it looks for jobs as often as it can, and puts a thousand at once.
const (
	workers  = 64
	cooldown = time.Millisecond
	poll     = 5 * time.Millisecond
	together = 1000
	conns    = 16
)

// Process is the process.
type Process struct {
	Dir string `json:"dir"` // of the database: empty before
}

// job is one that does nothing.
type job struct {
	N int `json:"n"`
}

func (job) Kind() string { return "nothing" }

type worker struct{ queue.WorkerDefaults[job] }

func (worker) Work(context.Context, *queue.Job[job]) error { return nil }

// Run works until the input ends.
func (p Process) Run(ctx context.Context, in io.Reader, out io.Writer) error {
	db, err := startPostgres(ctx, p.Dir)
	if err != nil {
		return err
	}
	defer db.stop()
	cfg, err := pgxpool.ParseConfig(db.url)
	if err != nil {
		return fmt.Errorf("address of PostgreSQL: %w", err)
	}
	cfg.MaxConns = conns
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return fmt.Errorf("connect to PostgreSQL: %w", err)
	}
	defer pool.Close()
	c, err := client(ctx, pool)
	if err != nil {
		return err
	}
	if err := c.Start(ctx); err != nil {
		return fmt.Errorf("start River: %w", err)
	}
	defer c.StopAndCancel(context.WithoutCancel(ctx)) //nolint:errcheck // its database goes away
	return node.Serve(ctx, in, out, node.Address{URL: cfg.ConnConfig.Host}, node.Ops{
		"batch": node.Handle(func(ctx context.Context, b reference.Batch) (any, error) { return batch(ctx, pool, c, b) }),
	})
}

func client(ctx context.Context, pool *pgxpool.Pool) (*queue.Client[pgx.Tx], error) {
	driver := riverpgxv5.New(pool)
	m, err := rivermigrate.New(driver, &rivermigrate.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, fmt.Errorf("make River's tables: %w", err)
	}
	if _, err := m.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return nil, fmt.Errorf("make River's tables: %w", err)
	}
	all := queue.NewWorkers()
	queue.AddWorker(all, worker{})
	c, err := queue.NewClient(driver, &queue.Config{
		Queues: map[string]queue.QueueConfig{queue.QueueDefault: {MaxWorkers: workers}}, Workers: all,
		FetchCooldown: cooldown, FetchPollInterval: poll, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return nil, fmt.Errorf("make River's client: %w", err)
	}
	return c, nil
}

// batch begins with an empty table, as good as new. A job's end is told when it is committed.
func batch(ctx context.Context, pool *pgxpool.Pool, c *queue.Client[pgx.Tx], b reference.Batch) (any, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	if _, err := pool.Exec(ctx, "TRUNCATE river_job"); err != nil {
		return nil, fmt.Errorf("empty the table: %w", err)
	}
	if _, err := pool.Exec(ctx, "CHECKPOINT"); err != nil {
		return nil, fmt.Errorf("write a checkpoint: %w", err)
	}
	ended, cancelEnded := c.SubscribeConfig(&queue.SubscribeConfig{ChanSize: b.Jobs + 1, Kinds: []queue.EventKind{
		queue.EventKindJobCompleted, queue.EventKindJobFailed, queue.EventKindJobCancelled,
	}})
	defer cancelEnded()
	start := time.Now()
	for from := 0; from < b.Jobs; from += together {
		some := make([]queue.InsertManyParams, min(together, b.Jobs-from))
		for i := range some {
			some[i].Args = job{N: from + i}
		}
		if _, err := c.InsertManyFast(ctx, some); err != nil {
			return nil, fmt.Errorf("insert jobs: %w", err)
		}
	}
	for n := range b.Jobs {
		select {
		case e := <-ended:
			if e.Kind != queue.EventKindJobCompleted {
				return nil, fmt.Errorf("job %d: %s", e.Job.ID, e.Kind)
			}
		case <-ctx.Done():
			return nil, fmt.Errorf("%d of %d jobs ended: %w", n, b.Jobs, context.Cause(ctx))
		}
	}
	took := time.Since(start)
	var done int
	if err := pool.QueryRow(ctx, "SELECT count(*) FROM river_job WHERE state = 'completed'").Scan(&done); err != nil {
		return nil, fmt.Errorf("count jobs: %w", err)
	}
	if done != b.Jobs {
		return nil, fmt.Errorf("%d of %d jobs are completed", done, b.Jobs)
	}
	return reference.Report{Elapsed: took}, nil
}
