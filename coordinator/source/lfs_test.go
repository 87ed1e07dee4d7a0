package source_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-build/slipway/coordinator/source"
	"github.com/slipway-build/slipway/internal/gitcmd"
)

func pointerTo(content string) string {
	return fmt.Sprintf("version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %d\n", oid(content), len(content))
}

func oid(content string) string {
	sum := sha256.Sum256([]byte(content))
	return hex.EncodeToString(sum[:])
}

// host is a git host: git over HTTPS, and a server of Git LFS. Who asks needs a password.
type host struct {
	*httptest.Server

	mu      sync.Mutex
	objects map[string]string // by id
	batches int
	gets    []string
	broken  func(w http.ResponseWriter, oid string) bool
}

func newHost(t *testing.T, root string) *host {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "git", "--exec-path").Output()
	if err != nil {
		t.Fatal(err)
	}
	backend := &cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(string(out)), "git-http-backend"),
		Env:  []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*"},
	}
	h := &host{objects: map[string]string{}}
	h.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/objects/") { // a store of its own, which asks for what the batch said
			if r.Header.Get("X-Signed") != "yes" {
				http.Error(w, "no", http.StatusForbidden)
				return
			}
			h.get(w, strings.TrimPrefix(r.URL.Path, "/objects/"))
			return
		}
		if user, password, _ := r.BasicAuth(); user != "robot" || password != "secret" {
			w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		if strings.HasSuffix(r.URL.Path, "/shop.git/info/lfs/objects/batch") {
			h.batch(t, w, r)
			return
		}
		backend.ServeHTTP(w, r)
	}))
	t.Cleanup(h.Close)
	return h
}

// change changes the host between requests.
func (h *host) change(do func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	do()
}

func (h *host) batch(t *testing.T, w http.ResponseWriter, r *http.Request) {
	t.Helper()
	var ask struct {
		Operation string
		Objects   []struct {
			OID  string
			Size int64
		}
	}
	if err := json.NewDecoder(r.Body).Decode(&ask); err != nil || ask.Operation != "download" {
		t.Errorf("batch: %v, %s", err, ask.Operation)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.batches++
	answer := map[string][]any{}
	for _, o := range ask.Objects {
		one := map[string]any{"oid": o.OID, "size": o.Size}
		if _, ok := h.objects[o.OID]; ok {
			one["actions"] = map[string]any{"download": map[string]any{"href": h.URL + "/objects/" + o.OID, "header": map[string]string{"X-Signed": "yes"}}}
		} else {
			one["error"] = map[string]any{"code": 404, "message": "not pushed"}
		}
		answer["objects"] = append(answer["objects"], one)
	}
	w.Header().Set("Content-Type", "application/vnd.git-lfs+json")
	if err := json.NewEncoder(w).Encode(answer); err != nil {
		t.Error(err)
	}
}

func (h *host) get(w http.ResponseWriter, oid string) {
	h.mu.Lock()
	h.gets = append(h.gets, oid)
	content, broken := h.objects[oid], h.broken
	h.mu.Unlock()
	if broken == nil || !broken(w, oid) {
		_, _ = io.WriteString(w, content)
	}
}

// contents reads all files of a commit.
func contents(t *testing.T, m *source.Mirror, repository, commit string, paths []string, with source.Options) (map[string]string, error) {
	t.Helper()
	list, err := m.Contents(t.Context(), repository, commit, paths, with)
	if err != nil {
		return nil, err
	}
	got := map[string]string{}
	err = m.Read(t.Context(), repository, commit, list, func(i int, size int64, content io.Reader) error {
		var b bytes.Buffer
		n, err := b.ReadFrom(content)
		got[list[i].Path] = b.String()
		if n != size {
			t.Errorf("%s: %d bytes of %d", list[i].Path, n, size)
		}
		return err
	})
	return got, err
}

// TestLFS: over HTTPS, with the password that git has for the host, once for each object.
func TestLFS(t *testing.T) {
	root := t.TempDir()
	h := newHost(t, root)
	r := newRepo(t)
	large := strings.Repeat("0123456789", 200_000)
	h.objects = map[string]string{oid("one"): "one", oid(large): large}
	files := map[string]string{
		".gitattributes": "*.bin filter=lfs diff=lfs merge=lfs -text\n", "a/one.bin": pointerTo("one"), "a/same.bin": pointerTo("one"), "a/text": "text\n", "a/z.bin": pointerTo(large), "b/x": "x\n",
	}
	c := r.commit(files)
	r.git("clone", "-q", "--bare", ".", filepath.Join(root, "shop.git"))
	home := t.TempDir()
	ca := filepath.Join(home, "ca.pem")
	write := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(ca, certificate(h.Server))
	netrc := filepath.Join(home, ".netrc")
	write(netrc, "machine elsewhere login x password y\nmachine 127.0.0.1\n  login robot\n  password secret\n")
	open := func(keep int64, netrc string) *source.Mirror {
		t.Helper()
		g, err := gitcmd.New(gitcmd.Options{Home: filepath.Join(t.TempDir(), "home"), Env: append(gitcmd.PassThrough(os.Environ()), "HOME="+home, "GIT_SSL_CAINFO="+ca)})
		if err != nil {
			t.Fatal(err)
		}
		m, err := source.New(source.Config{Dir: filepath.Join(t.TempDir(), "mirror"), FetchLimit: time.Minute, LFSKeep: keep, Netrc: netrc, HTTP: h.Client()}, g)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(m.Close)
		return m
	}
	address := h.URL + "/shop.git"
	m := open(0, netrc)
	if got := resolve(t, m, address, "main"); got != c {
		t.Fatalf("%s, want %s", got, c)
	}
	want := map[string]string{".gitattributes": files[".gitattributes"], "a/one.bin": "one", "a/same.bin": "one", "a/text": "text\n", "a/z.bin": large, "b/x": "x\n"}
	for range 2 {
		got, err := contents(t, m, address, c, []string{"."}, source.Options{LFS: true})
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Fatalf("%v (-want +got):\n%s", err, diff)
		}
	}
	// Attributes above the paths count.
	if got, err := contents(t, m, address, c, []string{"a/one.bin"}, source.Options{LFS: true}); err != nil || got["a/one.bin"] != "one" {
		t.Errorf("one file: %q, %v", got, err)
	}
	slices.Sort(h.gets)
	wantGets := []string{oid("one"), oid(large)}
	slices.Sort(wantGets)
	if diff := cmp.Diff(wantGets, h.gets); diff != "" || h.batches != 1 {
		t.Errorf("%d batches; what was fetched (-want +got):\n%s", h.batches, diff)
	}
	if got, err := contents(t, m, address, c, []string{"a"}, source.Options{}); err != nil || got["a/one.bin"] != files["a/one.bin"] {
		t.Errorf("without LFS: %q, %v", got, err)
	}

	refused := func(m *source.Mirror, kind error, text string) {
		t.Helper()
		resolve(t, m, address, c)
		if _, err := contents(t, m, address, c, []string{"a"}, source.Options{LFS: true}); !errors.Is(err, kind) || !strings.Contains(err.Error(), text) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%v, want %q", err, text)
		}
	}
	refused(open(100, netrc), source.ErrTooLarge, "lfs_mib")
	refused(open(0, filepath.Join(home, "none")), source.ErrUnreachable, "give the coordinator's user a .netrc that names 127.0.0.1")
	answer := func(broken func(w http.ResponseWriter, oid string) bool) {
		h.change(func() { h.broken = broken })
	}
	answer(func(w http.ResponseWriter, _ string) bool { _, _ = io.WriteString(w, "no!"); return true })
	refused(open(0, netrc), source.ErrUnreachable, "is not what came")
	answer(func(w http.ResponseWriter, _ string) bool {
		http.Error(w, "later", http.StatusServiceUnavailable)
		return true
	})
	refused(open(0, netrc), source.ErrUnreachable, "it answers 503")
	answer(nil)
	h.change(func() { delete(h.objects, oid("one")) })
	refused(open(0, netrc), source.ErrFileNotFound, "has no object "+oid("one"))

	// The least recently used object makes room.
	h.change(func() { h.objects, h.gets = map[string]string{oid("one"): "one", oid(large): large}, nil })
	small := open(int64(len(large)), netrc)
	resolve(t, small, address, c)
	for _, name := range []string{"a/one.bin", "a/z.bin", "a/one.bin", "a"} {
		if _, err := contents(t, small, address, c, []string{name}, source.Options{LFS: true}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(h.gets) < 4 {
		t.Errorf("nothing made room: %d objects were fetched", len(h.gets))
	}
}

// TestLFSOfAFolder: where a repository is named by its path, objects are where git-lfs keeps them.
func TestLFSOfAFolder(t *testing.T) {
	r := newRepo(t)
	c := r.commit(map[string]string{".gitattributes": "*.bin filter=lfs\n", "one.bin": pointerTo("one"), "odd.bin": "version https://git-lfs.github.com/spec/v1\noid md5:x\n"})
	m := newMirror(t, r.dir)
	resolve(t, m, r.dir, "main")
	with := source.Options{LFS: true}
	if _, err := contents(t, m, r.dir, c, []string{"one.bin"}, with); !errors.Is(err, source.ErrFileNotFound) || !strings.Contains(err.Error(), "git lfs fetch") {
		t.Errorf("missing: %v", err)
	}
	if _, err := contents(t, m, r.dir, c, []string{"."}, with); !errors.Is(err, source.ErrFileNotFound) || !strings.Contains(err.Error(), `"odd.bin" looks like a pointer`) && !strings.Contains(err.Error(), `odd.bin looks like a pointer`) {
		t.Errorf("odd: %v", err)
	}
	dir := filepath.Join(r.dir, ".git/lfs/objects", oid("one")[:2], oid("one")[2:4])
	if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, oid("one")), []byte("one"), 0o644)); err != nil {
		t.Fatal(err)
	}
	if got, err := contents(t, m, r.dir, c, []string{"one.bin"}, with); err != nil || got["one.bin"] != "one" {
		t.Errorf("%q, %v", got, err)
	}
	ids := map[string]bool{}
	for _, o := range []source.Options{{}, with} {
		id, err := m.Identity(t.Context(), r.dir, c, []string{"."}, o)
		if err != nil {
			t.Fatal(err)
		}
		ids[id] = true
	}
	if len(ids) != 2 {
		t.Error("a folder with pointers is taken for one with content")
	}
}

func certificate(s *httptest.Server) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
}

// TestLFSOfAnotherRepository: who knows the id of an object is not given it by a repository that does not have it.
func TestLFSOfAnotherRepository(t *testing.T) {
	private, public := newRepo(t), newRepo(t)
	files := map[string]string{".gitattributes": "*.bin filter=lfs\n", "one.bin": pointerTo("one")}
	theirs := private.commit(files)
	mine := public.commit(files)
	dir := filepath.Join(private.dir, ".git/lfs/objects", oid("one")[:2], oid("one")[2:4])
	if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, oid("one")), []byte("one"), 0o644)); err != nil {
		t.Fatal(err)
	}
	m := newMirror(t, private.dir, public.dir)
	resolve(t, m, private.dir, "main")
	resolve(t, m, public.dir, "main")
	with := source.Options{LFS: true}
	if got, err := contents(t, m, private.dir, theirs, []string{"."}, with); err != nil || got["one.bin"] != "one" {
		t.Fatalf("%q, %v", got, err)
	}
	if got, err := contents(t, m, public.dir, mine, []string{"."}, with); !errors.Is(err, source.ErrFileNotFound) {
		t.Errorf("another repository was given %q, %v", got["one.bin"], err)
	}
}

// TestIdentityOfAttributesAbove: attributes above the paths decide what a pointer stands for, so they are part of the identity.
func TestIdentityOfAttributesAbove(t *testing.T) {
	r := newRepo(t)
	before := r.commit(map[string]string{"a/b/one.bin": pointerTo("one")})
	after := r.commit(map[string]string{".gitattributes": "*.bin filter=lfs\n", "a/b/one.bin": pointerTo("one")})
	m := newMirror(t, r.dir)
	resolve(t, m, r.dir, "main")
	for _, with := range []source.Options{{}, {LFS: true}} {
		a, err := m.Identity(t.Context(), r.dir, before, []string{"a/b"}, with)
		b, err2 := m.Identity(t.Context(), r.dir, after, []string{"a/b"}, with)
		if err := errors.Join(err, err2); err != nil {
			t.Fatal(err)
		}
		if (a != b) != with.LFS {
			t.Errorf("with %+v: %s and %s", with, a, b)
		}
	}
}
