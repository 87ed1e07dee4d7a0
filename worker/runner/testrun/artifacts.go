package testrun

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	fstypes "github.com/tonistiigi/fsutil/types"

	"github.com/slipway-build/slipway/internal/archive"
	"github.com/slipway-build/slipway/worker/runner"
	"github.com/slipway-build/slipway/worker/runner/mask"
)

const (
	// maxArtifactFiles is how many files and folders one artifact may have.
	maxArtifactFiles = 50_000
	// sniffed is how much of a file says whether it is text: what has no zero byte there is, as for git.
	sniffed = 8000
)

// Store keeps artifacts.
type Store interface {
	// Put stores what r answers, so many bytes, under its digest.
	Put(ctx context.Context, digest string, size int64, r io.Reader) error
	// Get writes an artifact to w.
	Get(ctx context.Context, digest string, w io.Writer) error
}

// storing is where artifacts go.
type storing struct {
	store Store  // nil: nowhere
	dir   string // for what is packed, until it is stored
}

// Storing has the files that tests leave go to a store, over files in dir, which is made where it is not there.
func (r *Runner) Storing(s Store, dir string) *Runner {
	c := *r
	c.keeps = storing{s, dir}
	return &c
}

// unkept is an artifact that cannot be kept, since it is larger than may be or has no files: the test's own business.
type unkept struct{ message string }

func (e *unkept) Error() string { return e.message }

// unstored is an artifact that the farm could not keep.
type unstored struct{ err error }

func (e *unstored) Error() string { return e.err.Error() }
func (e *unstored) Unwrap() error { return e.err }

// keep packs and stores the artifacts of a test that has ended. What went wrong is part of the
// result.
func (a *attempt) keep(ctx context.Context, f files, workdir string) {
	left := a.work.Limits.All
	for _, p := range a.work.Artifacts {
		step := a.watch.Begin(fmt.Sprintf("[test %s] keep %s: %s", a.work.Name, p.Name, p.Pattern), "artifact")
		pattern := within(workdir, p.Pattern)
		k := &keeper{files: f, mask: a.task.Mask, limit: min(a.work.Limits.Each, left), each: a.work.Limits.Each}
		kept, err := k.keep(ctx, pattern, a.keeps)
		switch {
		case err != nil:
			step.End(err.Error())
			a.lost = append(a.lost, lost{p, err})
			continue
		case kept.Files == 0 && p.Required:
			err := &unkept{"no file matches, and another test uses it"}
			step.End(err.Error())
			a.lost = append(a.lost, lost{p, err})
			continue
		case kept.Files == 0:
			fmt.Fprintln(step, "no file matches")
			step.End("")
			continue
		}
		kept.Name = p.Name
		a.kept, left = append(a.kept, kept), left-k.size
		fmt.Fprintf(step, "%d files, %d bytes stored as %s\n%s", kept.Files, kept.Size, kept.Digest, k.note())
		step.End("")
	}
}

// within is a path in the container.
func within(workdir, name string) string {
	if path.IsAbs(name) {
		return name
	}
	return path.Join(workdir, name)
}

// lost is an artifact that was not kept.
type lost struct {
	runner.Pattern

	err error
}

// judged is the outcome with what became of the artifacts. One that is too large fails a test that passed, which would
// otherwise stand in for later ones without what it is to leave; one that the farm could not store has it tried again.
func (a *attempt) judged(o runner.Outcome) runner.Outcome {
	slices.SortFunc(a.kept, func(a, b runner.Artifact) int { return strings.Compare(a.Name, b.Name) })
	o.Result.Artifacts, o.Result.Coverage = a.kept, a.covered
	if a.uncovered != "" {
		o.Message += "\ncoverage: " + a.uncovered
	}
	for _, l := range a.lost {
		text := fmt.Sprintf("artifact %s (%s) was not kept: %v", l.Name, l.Pattern.Pattern, l.err)
		var own *unstored
		switch {
		case o.Kind != runner.Succeeded:
		case errors.As(l.err, &own):
			o.Kind, o.Class = runner.Errored, runner.ClassInfra
			o.Message = a.task.ID + " passed, but what it left could not be stored"
		default:
			o.Kind, o.Class = runner.Failed, runner.ClassUser
			o.Message = a.task.ID + " passed, but what it is to leave cannot be kept"
		}
		o.Message += "\n" + text
	}
	return o
}

// keeper packs what matches one pattern.
type keeper struct {
	files files
	mask  *mask.Masker
	limit int64 // of the bytes of the files
	each  int64 // what that is where nothing else was kept

	size  int64 // of the files
	links int   // that lead elsewhere, and were left out
}

func (k *keeper) note() string {
	if k.links == 0 {
		return ""
	}
	return fmt.Sprintf("%d symbolic links that lead out of it were left out\n", k.links)
}

// item is a file, folder or link of an artifact.
type item struct {
	full string // in the container
	name string // in the artifact
	stat *fstypes.Stat
}

// keep answers what was stored; without files: nothing matches.
func (k *keeper) keep(ctx context.Context, pattern string, to storing) (runner.Artifact, error) {
	found, single, err := k.find(ctx, pattern)
	if err != nil || len(found) == 0 {
		return runner.Artifact{}, err
	}
	if to.store == nil {
		return runner.Artifact{}, &unstored{errors.New("this worker has nowhere to store it")}
	}
	if err := os.MkdirAll(to.dir, 0o700); err != nil {
		return runner.Artifact{}, &unstored{err}
	}
	out, err := newSpool(to.dir)
	if err != nil {
		return runner.Artifact{}, &unstored{err}
	}
	defer out.remove()
	kept := runner.Artifact{}
	if single {
		kept.Files, kept.File, kept.Executable = 1, path.Base(found[0].full), fs.FileMode(found[0].stat.Mode).Perm()&0o111 != 0
		err = k.content(ctx, found[0], to.dir, func(_ int64, r io.Reader) error { return copied(out, r) })
	} else {
		kept.Files, err = k.pack(ctx, found, out, to.dir)
	}
	if err != nil {
		return runner.Artifact{}, &unstored{err}
	}
	kept.Digest, kept.Size = out.digest(), out.size
	r, err := out.reader()
	if err == nil {
		err = to.store.Put(ctx, kept.Digest, kept.Size, r)
	}
	if err != nil {
		return runner.Artifact{}, &unstored{err}
	}
	return kept, nil
}

// find answers what matches, sorted by name, and whether it is the one file that the pattern names.
func (k *keeper) find(ctx context.Context, pattern string) (found []item, single bool, err error) {
	segments := strings.Split(strings.Trim(path.Clean(pattern), "/"), "/")
	for len(segments) > 0 && segments[len(segments)-1] == "**" { // all of the folder
		segments = segments[:len(segments)-1]
	}
	if len(segments) == 0 || segments[0] == "" {
		return nil, false, &unkept{"the pattern means everything in the container: name a folder"}
	}
	fixed := slices.IndexFunc(segments, func(s string) bool { return strings.ContainsAny(s, `*?[\`) })
	if fixed < 0 {
		fixed = len(segments)
	}
	base := "/" + path.Join(segments[:fixed]...)
	s := search{files: k.files, whole: true, most: maxArtifactFiles}
	if err := s.walk(ctx, "/", segments); err != nil {
		return nil, false, k.because(ctx, err)
	}
	names := map[string]bool{}
	for _, e := range s.entries {
		name := strings.TrimPrefix(strings.TrimPrefix(e.full, base), "/")
		mode := fs.FileMode(e.stat.Mode)
		switch {
		case name == "" && mode.IsRegular():
			single = true
		case name == "" || names[name]:
			continue
		case mode.Type() == fs.ModeSymlink && !archive.Inside(name, e.stat.Linkname):
			k.links++
			continue
		}
		names[name] = true
		if mode.IsRegular() {
			k.size += e.stat.Size
		}
		found = append(found, item{e.full, name, e.stat})
	}
	if k.size > k.limit {
		return nil, false, k.large()
	}
	if !slices.ContainsFunc(found, func(i item) bool { return fs.FileMode(i.stat.Mode).IsRegular() }) {
		return nil, false, nil
	}
	slices.SortFunc(found, func(a, b item) int { return strings.Compare(a.name, b.name) })
	return found, single, nil
}

func (k *keeper) large() error {
	if k.limit < k.each {
		return &unkept{fmt.Sprintf("its files have %d MiB, and of what the artifacts of one task may have %d MiB are left (artifacts.task_mib in coordinator.yaml): make the pattern narrower", mib(k.size), k.limit>>20)}
	}
	return &unkept{fmt.Sprintf("its files have %d MiB; at most %d MiB are kept (artifacts.max_mib in coordinator.yaml): make the pattern narrower", mib(k.size), k.limit>>20)}
}

// mib rounds up.
func mib(n int64) int64 { return (n + 1<<20 - 1) >> 20 }

// because tells what is wrong with a pattern from a daemon that does not answer.
func (k *keeper) because(ctx context.Context, err error) error {
	if own := (*unkept)(nil); errors.As(err, &own) {
		return err
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return &unstored{err}
}

// pack packs what was found, and answers how many files that are.
func (k *keeper) pack(ctx context.Context, found []item, to io.Writer, dir string) (files int, err error) {
	w, err := archive.NewWriter(to)
	if err != nil {
		return 0, err
	}
	for _, i := range found {
		e := archive.Entry{Name: i.name, Mode: fs.FileMode(i.stat.Mode), Size: i.stat.Size, Link: i.stat.Linkname}
		if !e.Mode.IsRegular() {
			if err := w.Add(e, nil); err != nil {
				return 0, err
			}
			continue
		}
		files++
		if err := k.content(ctx, i, dir, func(size int64, r io.Reader) error {
			e.Size = size
			return w.Add(e, r)
		}); err != nil {
			return 0, err
		}
	}
	return files, w.Close()
}

// content calls do with the bytes of a file, and how many there are. In text secrets are masked; a file that is none
// stays as it is, since it would be of no use to anybody otherwise.
func (k *keeper) content(ctx context.Context, i item, dir string, do func(size int64, r io.Reader) error) error {
	r := bufio.NewReaderSize(&contentReader{ctx: ctx, files: k.files, name: i.full}, sniffed)
	begin, err := r.Peek(sniffed)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read %s: %w", i.full, err)
	}
	if k.mask == nil || bytes.IndexByte(begin, 0) >= 0 {
		return do(i.stat.Size, r)
	}
	masked, err := newSpool(dir)
	if err != nil {
		return err
	}
	defer masked.remove()
	text := k.mask.Stream(masked)
	if err := copied(text, r); err != nil {
		return fmt.Errorf("read %s: %w", i.full, err)
	}
	text.Flush()
	out, err := masked.reader()
	if err != nil {
		return err
	}
	return do(masked.size, out)
}

func copied(w io.Writer, r io.Reader) error {
	_, err := io.Copy(w, r)
	return err //nolint:wrapcheck // the caller says what of
}

// contentReader reads a file in a container.
type contentReader struct {
	ctx   context.Context //nolint:containedctx // of one read
	files files
	name  string
	at    int
	chunk []byte
	last  bool
}

func (r *contentReader) Read(p []byte) (int, error) {
	for len(r.chunk) == 0 {
		if r.last {
			return 0, io.EOF
		}
		chunk, err := r.files.readAt(r.ctx, r.name, r.at, readChunk)
		if err != nil {
			return 0, err
		}
		r.chunk, r.at, r.last = chunk, r.at+len(chunk), len(chunk) < readChunk
	}
	n := copy(p, r.chunk)
	r.chunk = r.chunk[n:]
	return n, nil
}

// spool is a file on the worker's disk that is written once and read once.
type spool struct {
	file *os.File
	sum  hash.Hash
	size int64
	err  error // of a write
}

func newSpool(dir string) (*spool, error) {
	f, err := os.CreateTemp(dir, "artifact-")
	if err != nil {
		return nil, fmt.Errorf("make room for an artifact: %w", err)
	}
	return &spool{file: f, sum: sha256.New()}, nil
}

func (s *spool) Write(p []byte) (int, error) {
	n, err := s.file.Write(p)
	s.sum.Write(p[:n])
	s.size += int64(n)
	s.err = errors.Join(s.err, err)
	return n, err //nolint:wrapcheck // an *os.PathError
}

func (s *spool) digest() string { return "sha256:" + hex.EncodeToString(s.sum.Sum(nil)) }

func (s *spool) reader() (io.Reader, error) {
	if s.err != nil {
		return nil, s.err
	}
	if _, err := s.file.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("read an artifact: %w", err)
	}
	return s.file, nil
}

func (s *spool) remove() {
	_ = s.file.Close()
	_ = os.Remove(s.file.Name())
}

func sumOf(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}
