// Package devfarmtest is a farm with everything for a test, BuildKit too, and a repository that it may read.
package devfarmtest

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/slipway-build/slipway/internal/clientfile"
	"github.com/slipway-build/slipway/internal/devfarm"
	"github.com/slipway-build/slipway/internal/gitcmd"
	"github.com/slipway-build/slipway/internal/rpc"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// patience is how long a run may take.
const patience = 5 * time.Minute

// Farm runs until the test ends.
type Farm struct {
	Conn *grpc.ClientConn
	Runs pb.RunServiceClient
}

// Start starts a farm that may read the repositories below some folders, and waits until it can be asked.
func Start(t *testing.T, folders ...string) *Farm {
	t.Helper()
	return StartWith(t, func(*devfarm.Config) {}, folders...)
}

// StartWith is Start with a configuration that is changed.
func StartWith(t *testing.T, change func(*devfarm.Config), folders ...string) *Farm {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	ready, ended := make(chan clientfile.File, 1), make(chan error, 1)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	go func() {
		conf := devfarm.Config{
			State: t.TempDir(), Tools: filepath.Join(cache, "slipway", "bin"), LocalPaths: folders, Version: "test",
			GitEnv: gitcmd.PassThrough(os.Environ()), //nolint:forbidigo // a test's own
			Log:    slog.New(slog.DiscardHandler), Ready: func(f clientfile.File) { ready <- f },
		}
		change(&conf)
		ended <- devfarm.Run(ctx, conf)
	}()
	f := &Farm{}
	select {
	case file := <-ready:
		t.Cleanup(func() {
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("farm: %v", err)
			}
		})
		if f.Conn, err = rpc.Dial(t.Context(), file.Address, rpc.DialOptions{Token: file.Token}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Conn.Close() })
		f.Runs = pb.NewRunServiceClient(f.Conn)
	case err := <-ended:
		cancel()
		t.Fatalf("farm: %v", err)
	}
	return f
}

// Run submits the newest commit of a repository, and answers the run once it has ended.
func (f *Farm) Run(t *testing.T, r *Repository) *pb.Run {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	res, err := f.Runs.Submit(ctx, &pb.SubmitRequest{IdempotencyKey: rand.Text(), Repository: r.Dir, Ref: "main"})
	if err != nil {
		t.Fatalf("submit: %v", err)
	}
	watch, err := f.Runs.Watch(ctx, &pb.WatchRequest{Run: res.GetRun().GetId()})
	for err == nil {
		_, err = watch.Recv()
	}
	if !errors.Is(err, io.EOF) {
		t.Fatalf("watch: %v", err)
	}
	got, err := f.Runs.Get(ctx, &pb.GetRequest{Run: res.GetRun().GetId()})
	if err != nil {
		t.Fatal(err)
	}
	return got.GetRun()
}

// Repository is one whose branch is main.
type Repository struct{ Dir string }

// NewRepository begins one in a folder, with what is there.
func NewRepository(t *testing.T, dir string) *Repository {
	t.Helper()
	r := &Repository{dir}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	r.Git(t, "init", "-q", "-b", "main")
	return r
}

// Git runs git there, and answers what it prints.
func (r *Repository) Git(t *testing.T, args ...string) string {
	t.Helper()
	args = append([]string{"-C", r.Dir, "-c", "user.name=Anna", "-c", "user.email=anna@example.com"}, args...)
	out, err := exec.CommandContext(t.Context(), "git", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// Commit writes files by their path, and commits everything.
func (r *Repository) Commit(t *testing.T, files map[string]string) {
	t.Helper()
	for name, text := range files {
		name = filepath.Join(r.Dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	r.Git(t, "add", "-A")
	r.Git(t, "commit", "-q", "-m", "next")
}
