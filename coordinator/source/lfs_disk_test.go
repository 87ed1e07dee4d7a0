package source_test

import (
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/slipway-build/slipway/coordinator/source"
	"github.com/slipway-build/slipway/internal/gitcmd"
)

// stored is a repository of a host with files in Git LFS, and a mirror of it in a folder.
func stored(t *testing.T, dir string, keep int64, objects ...string) (h *host, m *source.Mirror, address, commit string) {
	t.Helper()
	root, home := t.TempDir(), t.TempDir()
	h = newHost(t, root)
	r := newRepo(t)
	files := map[string]string{".gitattributes": "*.bin filter=lfs\n"}
	for _, o := range objects {
		h.objects[oid(o)] = o
		files[o[:1]+".bin"] = pointerTo(o)
	}
	commit = r.commit(files)
	r.git("clone", "-q", "--bare", ".", filepath.Join(root, "shop.git"))
	ca, netrc := filepath.Join(home, "ca.pem"), filepath.Join(home, ".netrc")
	if err := errors.Join(os.WriteFile(ca, []byte(certificate(h.Server)), 0o600), os.WriteFile(netrc, []byte("machine 127.0.0.1 login robot password secret\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	g, err := gitcmd.New(gitcmd.Options{Home: filepath.Join(t.TempDir(), "home"), Env: append(gitcmd.PassThrough(os.Environ()), "HOME="+home, "GIT_SSL_CAINFO="+ca)})
	if err != nil {
		t.Fatal(err)
	}
	m, err = source.New(source.Config{Dir: dir, FetchLimit: time.Minute, LFSKeep: keep, Netrc: netrc, HTTP: h.Client()}, g)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	address = h.URL + "/shop.git"
	resolve(t, m, address, "main")
	return h, m, address, commit
}

// size is how many bytes of objects a mirror has.
func size(t *testing.T, dir string) (n int64) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(dir, "lfs"), func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			info, err := d.Info()
			if err == nil {
				n += info.Size()
			}
		}
		return nil // or it has gone meanwhile
	})
	if err != nil {
		t.Error(err)
	}
	return n
}

// TestLFSMakesRoom: a commit with far more than is kept does not fill the disk on its way through.
func TestLFSMakesRoom(t *testing.T) {
	const each = 10_000
	var objects []string
	for _, c := range "abcdefghijkl" {
		objects = append(objects, strings.Repeat(string(c), each))
	}
	dir := t.TempDir()
	h, m, address, c := stored(t, dir, 2*each, objects...)
	h.change(func() {
		h.broken = func(http.ResponseWriter, string) bool {
			if n := size(t, dir); n > 4*each {
				t.Errorf("%d bytes are on the disk, of which %d may be kept", n, 2*each)
			}
			return false
		}
	})
	got, err := contents(t, m, address, c, []string{"."}, source.Options{LFS: true})
	if err != nil || len(got) != len(objects)+1 || got["l.bin"] != objects[11] {
		t.Errorf("%d files, %v", len(got), err)
	}
	if n := size(t, dir); n > 2*each {
		t.Errorf("%d bytes are kept", n)
	}
}

// TestLFSHeldIsNotWaitedFor: who needs what is there does not wait for a fetch that hangs.
func TestLFSHeldIsNotWaitedFor(t *testing.T) {
	h, m, address, c := stored(t, t.TempDir(), 0, "a there", "b slow")
	with := source.Options{LFS: true}
	if _, err := contents(t, m, address, c, []string{"a.bin"}, with); err != nil {
		t.Fatal(err)
	}
	asked, goOn := make(chan struct{}), make(chan struct{})
	h.change(func() { h.broken = func(http.ResponseWriter, string) bool { close(asked); <-goOn; return false } })
	slow, fast := make(chan error, 1), make(chan error, 1)
	go func() { _, err := contents(t, m, address, c, []string{"b.bin"}, with); slow <- err }()
	<-asked
	go func() { _, err := contents(t, m, address, c, []string{"a.bin"}, with); fast <- err }()
	select {
	case err := <-fast:
		if err != nil {
			t.Error(err)
		}
	case err := <-slow:
		t.Errorf("the slow one has come: %v", err)
	case <-time.After(20 * time.Second):
		t.Error("it waits for another object")
	}
	close(goOn)
	if err := <-slow; err != nil {
		t.Error(err)
	}
}

// TestLFSAbandoned: what was on its way when a coordinator was killed takes no room.
func TestLFSAbandoned(t *testing.T) {
	dir := t.TempDir()
	at := filepath.Join(dir, "lfs", "0123.git", "ab")
	if err := errors.Join(os.MkdirAll(at, 0o700), os.WriteFile(filepath.Join(at, "new-123"), []byte("half"), 0o600)); err != nil {
		t.Fatal(err)
	}
	_, m, address, c := stored(t, dir, 0, "a")
	if n := size(t, dir); n != 0 {
		t.Errorf("%d bytes are left", n)
	}
	if got, err := contents(t, m, address, c, []string{"a.bin"}, source.Options{LFS: true}); err != nil || got["a.bin"] != "a" {
		t.Errorf("%q, %v", got, err)
	}
}
