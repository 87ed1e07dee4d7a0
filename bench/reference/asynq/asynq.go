// Package asynq is the queue Asynq on Debian's Redis: one process that puts jobs which do
// nothing into it and works them with 64 workers.
package asynq

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"time"

	queue "github.com/hibiken/asynq"
	"golang.org/x/sync/errgroup"

	"github.com/slipway-build/slipway/bench/node"
	"github.com/slipway-build/slipway/bench/reference"
)

// How Asynq is tuned: a server takes one job at a time from Redis, so several of them share
// the 64 workers; and Redis writes what several clients sent with one fsync, so as many put
// jobs at once.
const (
	servers = 8
	workers = 8 // of each
	putters = 64
)

// Process is the process.
type Process struct {
	Dir string `json:"dir"` // of the database: empty before
}

// Run works until the input ends.
func (p Process) Run(ctx context.Context, in io.Reader, out io.Writer) error {
	r, address, err := startRedis(ctx, p.Dir)
	if err != nil {
		return err
	}
	defer r.Stop(syscall.SIGTERM)
	t := &told{done: make(chan error, 1)}
	for range servers {
		s := queue.NewServer(address, queue.Config{Concurrency: workers, LogLevel: queue.FatalLevel, ShutdownTimeout: time.Second, TaskCheckInterval: 10 * time.Millisecond})
		if err := s.Start(queue.HandlerFunc(t.work)); err != nil {
			return fmt.Errorf("start Asynq: %w", err)
		}
		defer s.Shutdown()
	}
	c := queue.NewClient(address)
	defer c.Close()
	look := queue.NewInspector(address)
	defer look.Close()
	return node.Serve(ctx, in, out, node.Address{URL: address.Addr}, node.Ops{
		"batch": node.Handle(func(ctx context.Context, b reference.Batch) (any, error) { return t.batch(ctx, c, look, b) }),
	})
}

// startRedis starts a server whose every write is on the disk before it is answered.
func startRedis(ctx context.Context, dir string) (*reference.Server, queue.RedisClientOpt, error) {
	program, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, queue.RedisClientOpt{}, fmt.Errorf("find Redis, Debian's package redis-server: %w", err)
	}
	port, err := reference.Port()
	if err != nil {
		return nil, queue.RedisClientOpt{}, err
	}
	word := rand.Text()
	cmd := exec.CommandContext(context.WithoutCancel(ctx), program, "-") // it is configured by its input: everybody sees arguments
	cmd.Dir = dir
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, queue.RedisClientOpt{}, fmt.Errorf("start Redis: %w", err)
	}
	s, err := reference.Start(cmd, dir)
	if err != nil {
		return nil, queue.RedisClientOpt{}, err
	}
	_, err = fmt.Fprintf(in, "bind 127.0.0.1\nport %d\nrequirepass %s\nappendonly yes\nappendfsync always\nsave \"\"\nauto-aof-rewrite-percentage 0\n", port, word)
	if err = errors.Join(err, in.Close()); err != nil {
		s.Stop(syscall.SIGTERM)
		return nil, queue.RedisClientOpt{}, fmt.Errorf("configure Redis: %w", err)
	}
	address := queue.RedisClientOpt{Addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), Password: word, PoolSize: 2 * putters}
	err = s.Await(ctx, func(context.Context) error {
		c := queue.NewClient(address)
		defer c.Close()
		return c.Ping()
	})
	if err != nil {
		s.Stop(syscall.SIGTERM)
	}
	return s, address, err
}

// told notes what workers did.
type told struct {
	mu   sync.Mutex
	once *reference.Once
	done chan error // has something when all are done, or one was wrong
}

func (t *told) work(_ context.Context, j *queue.Task) error {
	n, err := strconv.Atoi(string(j.Payload()))
	t.mu.Lock()
	defer t.mu.Unlock()
	all := false
	if err == nil {
		all, err = t.once.Did(n)
	}
	if all || err != nil {
		select {
		case t.done <- err:
		default:
		}
	}
	return nil
}

func (t *told) batch(ctx context.Context, c *queue.Client, look *queue.Inspector, b reference.Batch) (any, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	t.mu.Lock()
	t.once = reference.NewOnce(b.Jobs)
	t.mu.Unlock()
	start := time.Now()
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(putters)
	for i := range b.Jobs {
		g.Go(func() error {
			_, err := c.EnqueueContext(gctx, queue.NewTask("nothing", []byte(strconv.Itoa(i))), queue.MaxRetry(0))
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, fmt.Errorf("put jobs: %w", err)
	}
	select {
	case err := <-t.done:
		if err != nil {
			return nil, err
		}
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for jobs: %w", context.Cause(ctx))
	}
	if err := settled(ctx, look); err != nil { // the last workers may still say that they are done
		return nil, err
	}
	return reference.Report{Elapsed: time.Since(start)}, nil
}

// settled waits until Redis holds no job.
func settled(ctx context.Context, look *queue.Inspector) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		q, err := look.GetQueueInfo("default")
		if err != nil {
			return fmt.Errorf("look at the queue: %w", err)
		}
		if q.Failed+q.Archived+q.Retry > 0 {
			return fmt.Errorf("%d jobs failed", q.Failed)
		}
		if q.Size == 0 {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for the queue: %w", context.Cause(ctx))
		}
	}
}
