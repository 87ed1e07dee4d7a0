package source

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/slipway-build/slipway/internal/gitcmd"
	"github.com/slipway-build/slipway/internal/strictyaml"
)

// Config of a mirror.
type Config struct {
	// Dir holds the bare repositories; it belongs to one mirror.
	Dir string
	// LocalPaths are the folders below which an absolute path may name a repository.
	// None: paths are refused.
	LocalPaths []string
	// FetchLimit bounds one conversation with a remote; 0: 15 minutes.
	FetchLimit time.Duration
	// LFSKeep is how many bytes of objects of Git LFS are kept; 0: 10 GiB.
	LFSKeep int64
	// Netrc is the file with the credentials of servers of Git LFS: the .netrc that git
	// itself reads for https.
	Netrc string
	// HTTP reaches those servers; nil: a client with the machine's certificates.
	HTTP *http.Client
}

// How many processes of git read at once.
const (
	readers   = 32 // for plans
	transfers = 64 // for workers; more of them wait
)

// Mirror is safe for concurrent use. Fetches of one repository wait for each other;
// reads never wait.
type Mirror struct {
	git     *gitcmd.Git
	conf    Config
	objects *pool // for plans
	// What workers read takes as long as their networks do, and no plan waits for it.
	transfers *pool
	trees     trees

	mu    sync.Mutex
	locks map[string]chan struct{} // by folder; holds one token
}

// New makes the folder when it is missing.
func New(conf Config, git *gitcmd.Git) (*Mirror, error) {
	if conf.FetchLimit == 0 {
		conf.FetchLimit = 15 * time.Minute
	}
	conf.LFSKeep = cmp.Or(conf.LFSKeep, 10<<30)
	if conf.HTTP == nil {
		conf.HTTP = newHTTP()
	}
	if err := os.MkdirAll(conf.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("folder of the source mirror: %w", err)
	}
	m := &Mirror{git: git, conf: conf, objects: newPool(git, readers), transfers: newPool(git, transfers), locks: map[string]chan struct{}{}}
	if err := m.abandonedLFS(); err != nil {
		return nil, fmt.Errorf("folder of the source mirror: %w", err)
	}
	return m, nil
}

// Close ends the processes that the mirror keeps. What is read afterwards starts its own.
func (m *Mirror) Close() {
	m.objects.close()
	m.transfers.close()
}

// Resolve answers the commit that a branch, a tag, a full ref name, HEAD or a full
// commit id names in the remote now, and makes sure that the mirror holds it. A commit
// that the mirror has is answered without asking the remote.
func (m *Mirror) Resolve(ctx context.Context, repository, ref string) (string, error) {
	r, err := parseRemote(repository, m.conf.LocalPaths)
	if err != nil {
		return "", err
	}
	if err := checkRef(ref); err != nil {
		return "", err
	}
	if isCommit(ref) && m.has(ctx, r, ref) {
		return ref, nil
	}
	unlock, err := m.lock(ctx, r)
	if err != nil {
		return "", err
	}
	defer unlock()
	if err := m.prepare(ctx, r); err != nil {
		return "", err
	}
	if isCommit(ref) {
		return m.fetch(ctx, r, ref, found{id: ref}) // whatever branch has such a name
	}
	found, err := m.lookup(ctx, r, ref)
	if err != nil {
		return "", err
	}
	return m.fetch(ctx, r, ref, found)
}

// Heads answers the branches of the remote as they are now, with their commits.
func (m *Mirror) Heads(ctx context.Context, repository string) (map[string]string, error) {
	r, err := parseRemote(repository, m.conf.LocalPaths)
	if err != nil {
		return nil, err
	}
	unlock, err := m.lock(ctx, r)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := m.prepare(ctx, r); err != nil {
		return nil, err
	}
	refs, err := m.remoteRefs(ctx, r, "refs/heads/*")
	if err != nil {
		return nil, err
	}
	heads := make(map[string]string, len(refs))
	for name, id := range refs {
		if branch, ok := strings.CutPrefix(name, "refs/heads/"); ok {
			heads[branch] = id
		}
	}
	return heads, nil
}

// found is what a ref names in the remote.
type found struct {
	name string // full name of the ref; empty for a commit id
	id   string // of the object it points to: a commit, or an annotated tag
}

// lookup asks the remote what it calls ref.
func (m *Mirror) lookup(ctx context.Context, r remote, ref string) (found, error) {
	names := []string{ref}
	if !strings.HasPrefix(ref, "refs/") && ref != "HEAD" {
		names = []string{"refs/heads/" + ref, "refs/tags/" + ref}
	}
	refs, err := m.remoteRefs(ctx, r, names...)
	if err != nil {
		return found{}, err
	}
	var hits []found
	for _, n := range names {
		if id, ok := refs[n]; ok {
			hits = append(hits, found{n, id})
		}
	}
	switch {
	case len(hits) == 2 && hits[0].id != hits[1].id:
		return found{}, &Error{Kind: ErrRefNotFound, Message: fmt.Sprintf("%s is a branch and a tag of repository %s; write refs/heads/%s or refs/tags/%s",
			strictyaml.Quote(ref), r.shown, ref, ref)}
	case len(hits) > 0:
		return hits[0], nil
	}
	return found{}, m.suggest(ctx, r, ref)
}

// suggest makes the error for a ref that does not exist.
func (m *Mirror) suggest(ctx context.Context, r remote, ref string) error {
	all, err := m.remoteRefs(ctx, r)
	if err != nil {
		return err
	}
	var branches, tags []string
	for name := range all {
		if b, ok := strings.CutPrefix(name, "refs/heads/"); ok {
			branches = append(branches, b)
		}
		if t, ok := strings.CutPrefix(name, "refs/tags/"); ok && !strings.HasSuffix(t, "^{}") {
			tags = append(tags, t)
		}
	}
	return refNotFound(r, ref, branches, tags)
}

// remoteRefs lists refs of the remote by their full names, all or the given ones.
func (m *Mirror) remoteRefs(ctx context.Context, r remote, names ...string) (map[string]string, error) {
	var out bytes.Buffer
	err := m.git.Run(ctx, gitcmd.Command{
		Dir: m.dir(r), Args: append([]string{"ls-remote", "--quiet", "--end-of-options", r.address}, names...),
		Stdout: &out, Protocols: []string{r.protocol}, Limit: m.conf.FetchLimit,
	})
	if err != nil {
		return nil, unreachable(r, err)
	}
	refs := map[string]string{}
	for line := range strings.Lines(out.String()) {
		if id, name, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "\t"); ok && isCommit(id) {
			refs[name] = id
		}
	}
	return refs, nil
}

// fetch brings what was found into the mirror and answers its commit.
func (m *Mirror) fetch(ctx context.Context, r remote, ref string, f found) (string, error) {
	if commit, ok := m.commit(ctx, r, f.id); ok {
		return commit, nil
	}
	// Kept under a name, so that the next fetch of the branch brings only what is new.
	keep, source := "refs/slipway/fetched/"+f.id, f.id
	if f.name != "" && f.name != "HEAD" {
		keep, source = "refs/slipway/remote/"+strings.TrimPrefix(f.name, "refs/"), f.name
	}
	err := m.git.Run(ctx, gitcmd.Command{
		Dir: m.dir(r),
		Args: []string{
			"fetch", "--quiet", "--force", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance",
			"--end-of-options", r.address, "+" + source + ":" + keep,
		},
		Protocols: []string{r.protocol}, Limit: m.conf.FetchLimit,
	})
	if err != nil {
		var g *gitcmd.Error
		if f.name == "" && errors.As(err, &g) && noSuchObject(g.Stderr) {
			return "", m.suggest(ctx, r, ref)
		}
		return "", unreachable(r, err)
	}
	// A branch that moved meanwhile is answered as it is in the mirror now.
	if commit, ok := m.commit(ctx, r, keep); ok {
		return commit, nil
	}
	return "", &Error{Kind: ErrRefNotFound, Message: fmt.Sprintf("%s of repository %s is not a commit", strictyaml.Quote(ref), r.shown)}
}

func noSuchObject(said string) bool {
	for _, part := range []string{"not our ref", "unadvertised object", "couldn't find remote ref", "bad object"} {
		if strings.Contains(said, part) {
			return true
		}
	}
	return false
}

// commit peels an object id or ref of the mirror to a commit that is there.
func (m *Mirror) commit(ctx context.Context, r remote, object string) (string, bool) {
	found, err := m.objects.stat(ctx, m.dir(r), []string{object + "^{commit}"})
	if err != nil || found[0].Kind != "commit" {
		return "", false
	}
	return found[0].ID, true
}

func (m *Mirror) has(ctx context.Context, r remote, commit string) bool {
	if _, err := os.Stat(filepath.Join(m.dir(r), "HEAD")); err != nil {
		return false
	}
	id, ok := m.commit(ctx, r, commit)
	return ok && id == commit
}

// Pin keeps a commit for a run: nothing that cleans the mirror removes it before Unpin.
// Repeats change nothing.
func (m *Mirror) Pin(ctx context.Context, repository, commit, run string) error {
	return m.pin(ctx, repository, run, commit)
}

// Unpin lets a run's commit go.
func (m *Mirror) Unpin(ctx context.Context, repository, run string) error {
	return m.pin(ctx, repository, run, "")
}

func (m *Mirror) pin(ctx context.Context, repository, run, commit string) error {
	if !runName.MatchString(run) || strings.Contains(run, "..") || strings.HasSuffix(run, ".lock") || strings.HasSuffix(run, ".") {
		return refuse("%s is not the name of a run", strictyaml.Quote(run))
	}
	name := "refs/slipway/runs/" + run
	args := []string{"update-ref", "-d", name}
	var r remote
	var err error
	if commit == "" {
		r, err = parseRemote(repository, m.conf.LocalPaths)
	} else {
		r, err = m.at(ctx, repository, commit)
		args = []string{"update-ref", "--end-of-options", name, commit}
	}
	if err != nil {
		return err
	}
	unlock, err := m.lock(ctx, r)
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := m.git.Output(ctx, m.dir(r), args...); err != nil {
		return fmt.Errorf("pin commit %s of run %s: %w", commit, run, err)
	}
	return nil
}

// at checks a repository and a commit, and that the mirror has it.
func (m *Mirror) at(ctx context.Context, repository string, commits ...string) (remote, error) {
	r, err := parseRemote(repository, m.conf.LocalPaths)
	if err != nil {
		return remote{}, err
	}
	for _, c := range commits {
		if !isCommit(c) {
			return remote{}, refuse("%s is not a full commit id", strictyaml.Quote(c))
		}
		if m.has(ctx, r, c) {
			continue
		}
		// Another coordinator may have fetched it, or this one before its folder was lost.
		if _, err := m.Resolve(ctx, repository, c); err != nil {
			if ctx.Err() != nil {
				return remote{}, context.Cause(ctx)
			}
			return remote{}, &Error{Kind: ErrRefNotFound, Message: fmt.Sprintf("the mirror of repository %s has no commit %s; resolve it first", r.shown, c)}
		}
	}
	return r, nil
}

func (m *Mirror) dir(r remote) string { return filepath.Join(m.conf.Dir, r.key) }

// prepare makes the bare repository. Its attributes overrule those in commits, so that
// a tar holds the very bytes whose ids were hashed.
func (m *Mirror) prepare(ctx context.Context, r remote) error {
	dir := m.dir(r)
	attributes := filepath.Join(dir, "info", "attributes")
	if _, err := os.Stat(attributes); err == nil {
		return nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("mirror of %s: %w", r.shown, err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("mirror of %s: %w", r.shown, err)
	}
	if _, err := m.git.Output(ctx, dir, "init", "--bare", "--quiet", "--template="); err != nil {
		return fmt.Errorf("mirror of %s: %w", r.shown, err)
	}
	if err := os.MkdirAll(filepath.Dir(attributes), 0o700); err != nil {
		return fmt.Errorf("mirror of %s: %w", r.shown, err)
	}
	// Written last: a mirror without it is made again.
	rule := "* -text -eol -ident -filter -working-tree-encoding -export-ignore -export-subst\n"
	if err := os.WriteFile(attributes, []byte(rule), 0o600); err != nil {
		return fmt.Errorf("mirror of %s: %w", r.shown, err)
	}
	return nil
}

// lock holds a repository for writing.
func (m *Mirror) lock(ctx context.Context, r remote) (unlock func(), err error) {
	m.mu.Lock()
	l, ok := m.locks[r.key]
	if !ok {
		l = make(chan struct{}, 1)
		m.locks[r.key] = l
	}
	m.mu.Unlock()
	select {
	case l <- struct{}{}:
		return func() { <-l }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for the mirror of %s: %w", r.shown, context.Cause(ctx))
	}
}
