package readmodel_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/slipway-build/slipway/coordinator/readmodel"
	"github.com/slipway-build/slipway/coordinator/run"
	"github.com/slipway-build/slipway/internal/enginetest"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const password = "sesame"

// engines are the Redis that slipway up embeds, and the real one where it is installed.
func engines(t *testing.T, test func(t *testing.T, address string)) {
	t.Helper()
	t.Run("miniredis", func(t *testing.T) {
		m := miniredis.RunT(t)
		m.RequireAuth(password)
		test(t, m.Addr())
	})
	t.Run("redis-server", func(t *testing.T) {
		program, err := exec.LookPath("redis-server")
		if err != nil {
			enginetest.Missing(t, "redis-server is not installed: %v; scripts/setup test installs it", err)
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		_, port, _ := net.SplitHostPort(l.Addr().String())
		_ = l.Close()
		cmd := exec.CommandContext(t.Context(), program, "--port", port, "--bind", "127.0.0.1", "--requirepass", password, "--save", "", "--dir", t.TempDir())
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
		address := "127.0.0.1:" + port
		c := client(t, address)
		eventually(t, "redis-server answers", func() bool { return c.Ping(context.WithoutCancel(t.Context())).Err() == nil })
		test(t, address)
	})
}

func client(t *testing.T, address string) *redis.Client {
	t.Helper()
	c := redis.NewClient(&redis.Options{Addr: address, Password: password})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// eventually polls: it fails the test after a deadline that no healthy machine needs.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not so after 20 s: %s", what)
		}
	}
}

// truth stands for the partitions.
type truth struct {
	mu    sync.Mutex
	runs  []*run.Run // newest first
	asked int
}

func (s *truth) add(project string, number int) *run.Run {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := &run.Run{
		ID: fmt.Sprintf("%s-%d", project, number), Number: uint64(number), Project: project, State: run.Running,
		AcceptedAt: time.Date(2026, 1, 1, 0, 0, len(s.runs), 0, time.UTC),
	}
	s.runs = slices.Insert(s.runs, 0, r)
	return r
}

func (s *truth) list(_ context.Context, limit int) ([]*run.Run, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	return slices.Clone(s.runs[:min(limit, len(s.runs))]), nil
}

func (s *truth) builds() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

func start(t *testing.T, address string, keep int, s *truth) *readmodel.Model {
	t.Helper()
	key, err := readmodel.OpenKey(filepath.Join(t.TempDir(), "state", "key"))
	if err != nil {
		t.Fatal(err)
	}
	m := readmodel.New(readmodel.Config{Address: address, Password: password, Key: key, Keep: keep, Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Now: time.Now})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := m.Run(ctx, s.list); err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	return m
}

func ids(runs []*pb.Run) []string {
	out := []string{}
	for _, r := range runs {
		out = append(out, r.GetId())
	}
	return out
}

// shows waits until a list has those runs.
func shows(t *testing.T, m *readmodel.Model, project string, limit int, want ...string) {
	t.Helper()
	var got []string
	defer func() {
		if t.Failed() {
			t.Logf("last answer: %v, want %v", got, want)
		}
	}()
	eventually(t, fmt.Sprintf("the list of %q is %v", project, want), func() bool {
		runs, asOf, ok := m.List(t.Context(), project, limit)
		got = ids(runs)
		return ok && !asOf.IsZero() && slices.Equal(got, want)
	})
}

func TestListsFollowWhatWasCommitted(t *testing.T) {
	engines(t, func(t *testing.T, address string) {
		t.Helper()
		s := &truth{}
		s.add("shop", 1)
		m := start(t, address, 100, s)
		shows(t, m, "", 10, "shop-1")
		b := s.add("blog", 1)
		m.Changed(b)
		m.Changed(s.add("shop", 2))
		shows(t, m, "", 10, "shop-2", "blog-1", "shop-1")
		shows(t, m, "", 2, "shop-2", "blog-1")
		shows(t, m, "shop", 10, "shop-2", "shop-1")
		shows(t, m, "blog", 10, "blog-1")
		shows(t, m, "none", 10)
		ended := *b
		ended.State, ended.Message = run.Failed, "test/api failed"
		m.Changed(&ended)
		eventually(t, "the row says how the run ended", func() bool {
			runs, _, ok := m.List(t.Context(), "blog", 10)
			return ok && len(runs) == 1 && runs[0].GetState() == pb.RunState_RUN_STATE_FAILED && runs[0].GetMessage() == "test/api failed"
		})
		if n := s.builds(); n != 1 {
			t.Errorf("the partitions were asked %d times, want once: at the start", n)
		}
	})
}

func TestAFlushIsNoticedAndRepaired(t *testing.T) {
	engines(t, func(t *testing.T, address string) {
		t.Helper()
		s := &truth{}
		s.add("shop", 1)
		m := start(t, address, 100, s)
		shows(t, m, "", 10, "shop-1")
		if err := client(t, address).FlushAll(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		// A change just after the flush must not make a list of that change alone.
		m.Changed(s.add("shop", 2))
		for range 50 {
			if runs, _, ok := m.List(t.Context(), "shop", 10); ok && len(runs) == 0 {
				t.Fatal("an empty Redis was believed")
			}
		}
		shows(t, m, "", 10, "shop-2", "shop-1")
	})
}

func TestAForgedOrMovedValueIsNeverShown(t *testing.T) {
	attacks := map[string]func(ctx context.Context, c *redis.Client, names map[string]string) error{
		"forged row": func(ctx context.Context, c *redis.Client, n map[string]string) error {
			return c.Set(ctx, n["run:shop-1"], "forged", 0).Err()
		},
		"changed row": func(ctx context.Context, c *redis.Client, n map[string]string) error {
			return c.Append(ctx, n["run:shop-1"], "\x10\x63").Err() // as protobuf: number 99
		},
		"swapped rows": func(ctx context.Context, c *redis.Client, n map[string]string) error {
			return c.Copy(ctx, n["run:shop-2"], n["run:shop-1"], 0, true).Err()
		},
		"row gone": func(ctx context.Context, c *redis.Client, n map[string]string) error {
			return c.Del(ctx, n["run:shop-1"]).Err()
		},
		"another project's list": func(ctx context.Context, c *redis.Client, n map[string]string) error {
			return c.Copy(ctx, n["list:project:blog"], n["list:project:shop"], 0, true).Err()
		},
		"list gone": func(ctx context.Context, c *redis.Client, n map[string]string) error {
			return c.Del(ctx, n["list:project:shop"]).Err()
		},
		"not a string": func(ctx context.Context, c *redis.Client, n map[string]string) error {
			c.Del(ctx, n["list:project:shop"])
			return c.LPush(ctx, n["list:project:shop"], "x").Err()
		},
	}
	engines(t, func(t *testing.T, address string) {
		t.Helper()
		s := &truth{}
		s.add("shop", 1)
		s.add("shop", 2)
		s.add("blog", 1)
		m := start(t, address, 100, s)
		c := client(t, address)
		for what, attack := range attacks {
			shows(t, m, "shop", 10, "shop-2", "shop-1")
			names := map[string]string{}
			keys, err := c.Keys(t.Context(), "slipway:*").Result()
			if err != nil {
				t.Fatal(err)
			}
			for _, k := range keys {
				names[k[len("slipway:")+9:]] = k
			}
			before := s.builds()
			if err := attack(t.Context(), c, names); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			if runs, _, ok := m.List(t.Context(), "shop", 10); ok && s.builds() == before {
				t.Errorf("%s: believed: %v", what, runs)
			}
			eventually(t, what+" is repaired", func() bool { return s.builds() > before })
		}
		shows(t, m, "shop", 10, "shop-2", "shop-1")
	})
}

func TestOnlyTheNewestAreHeldAndShortListsAreNotBelieved(t *testing.T) {
	engines(t, func(t *testing.T, address string) {
		t.Helper()
		s := &truth{}
		s.add("blog", 1)
		for i := range 5 {
			s.add("shop", i+1)
		}
		m := start(t, address, 3, s)
		shows(t, m, "", 3, "shop-5", "shop-4", "shop-3")
		if _, _, ok := m.List(t.Context(), "", 4); ok {
			t.Error("a list that was cut answered for more than it holds")
		}
		if _, _, ok := m.List(t.Context(), "blog", 1); ok {
			t.Error("a project whose runs are not held has an answer")
		}
		m.Changed(s.add("shop", 6))
		shows(t, m, "shop", 3, "shop-6", "shop-5", "shop-4")
		keys, err := client(t, address).Keys(t.Context(), "*run:*").Result()
		if err != nil || len(keys) != 3 {
			t.Errorf("rows: %v, %v; want 3", keys, err)
		}
	})
}

func TestItAnswersNothingWhileRedisIsAwayAndNeverBlocks(t *testing.T) {
	r := miniredis.RunT(t)
	r.RequireAuth(password)
	s := &truth{}
	s.add("shop", 1)
	m := start(t, r.Addr(), 100, s)
	shows(t, m, "", 10, "shop-1")
	r.Close()
	for i := range 10_000 { // more than the backlog: some are dropped
		m.Changed(&run.Run{ID: fmt.Sprintf("x-%d", i), Project: "x"})
	}
	eventually(t, "it does not answer", func() bool { _, _, ok := m.List(t.Context(), "", 10); return !ok })
	s.add("shop", 2)
	if err := r.Restart(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the run that was missed is there", func() bool {
		runs, _, ok := m.List(t.Context(), "shop", 10)
		return ok && slices.Equal(ids(runs), []string{"shop-2", "shop-1"})
	})
}
