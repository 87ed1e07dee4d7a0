package source_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/slipway-build/slipway/coordinator/source"
	"github.com/slipway-build/slipway/internal/gitcmd"
)

func TestPinSurvivesCollection(t *testing.T) {
	r := newRepo(t)
	first := r.commit(map[string]string{"a": "1"})
	dir := t.TempDir()
	g, err := gitcmd.New(gitcmd.Options{Home: filepath.Join(dir, "home"), Env: gitcmd.PassThrough(os.Environ())})
	if err != nil {
		t.Fatal(err)
	}
	m, err := source.New(source.Config{Dir: filepath.Join(dir, "mirror"), LocalPaths: []string{"/"}}, g)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	resolve(t, m, r.dir, "main")
	if err := m.Pin(t.Context(), r.dir, first, "shop-1"); err != nil {
		t.Fatal(err)
	}
	if err := m.Pin(t.Context(), r.dir, first, "shop-1"); err != nil {
		t.Fatalf("again: %v", err)
	}
	r.git("checkout", "-q", "--orphan", "other")
	r.commit(map[string]string{"b": "1"})
	r.git("branch", "-q", "-M", "other", "main")
	resolve(t, m, r.dir, "main")
	r.git("reflog", "expire", "--expire=now", "--all") // so that it cannot be fetched again
	r.git("gc", "--quiet", "--prune=now")
	collect := func() {
		bare, err := filepath.Glob(filepath.Join(dir, "mirror", "*.git"))
		if err != nil || len(bare) != 1 {
			t.Fatalf("%v, %v", bare, err)
		}
		if _, err := g.Output(t.Context(), bare[0], "gc", "--quiet", "--prune=now"); err != nil {
			t.Fatal(err)
		}
	}
	collect()
	if _, err := m.Tree(t.Context(), r.dir, first, []string{"."}); err != nil {
		t.Errorf("a pinned commit was collected: %v", err)
	}
	if err := m.Unpin(t.Context(), r.dir, "shop-1"); err != nil {
		t.Fatal(err)
	}
	collect()
	if _, err := m.Tree(t.Context(), r.dir, first, []string{"."}); !errors.Is(err, source.ErrRefNotFound) {
		t.Errorf("an unpinned commit is still there: %v", err)
	}
	for _, run := range []string{"", "../x", "a/b", "-x", "a..b", "x.lock"} {
		if err := m.Pin(t.Context(), r.dir, first, run); !errors.Is(err, source.ErrNotAllowed) {
			t.Errorf("Pin for run %q: %v", run, err)
		}
	}
}

func TestConcurrentUse(t *testing.T) {
	r := newRepo(t)
	commits := []string{r.commit(map[string]string{"a": "0"})}
	for _, v := range []string{"1", "2", "3"} {
		commits = append(commits, r.commit(map[string]string{"a": v}))
		r.git("branch", "b"+v)
	}
	m := newMirror(t, r.dir)
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			v := i%3 + 1
			c, err := m.Resolve(t.Context(), r.dir, "b"+string(rune('0'+v)))
			if err != nil || c != commits[v] {
				t.Errorf("Resolve: %s, %v", c, err)
				return
			}
			if err := m.Pin(t.Context(), r.dir, c, "run"+string(rune('a'+i))); err != nil {
				t.Error(err)
			}
			data, err := m.File(t.Context(), r.dir, c, "a")
			if err != nil || !slices.Equal(data, []byte{byte('0' + v)}) {
				t.Errorf("File: %q, %v", data, err)
			}
		})
	}
	wg.Wait()
}

func TestCanceled(t *testing.T) {
	r := newRepo(t)
	c := r.commit(map[string]string{"a": "1"})
	m := newMirror(t, r.dir)
	resolve(t, m, r.dir, "main")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := m.Resolve(ctx, r.dir, "main"); !errors.Is(err, context.Canceled) {
		t.Errorf("Resolve: %v", err)
	}
	if err := m.Archive(ctx, r.dir, c, nil, io.Discard); !errors.Is(err, context.Canceled) {
		t.Errorf("Archive: %v", err)
	}
}
