package testrun_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-build/slipway/internal/archive"
	"github.com/slipway-build/slipway/worker/runner"
	"github.com/slipway-build/slipway/worker/runner/buildkit/buildkittest"
	"github.com/slipway-build/slipway/worker/runner/runnertest"
	"github.com/slipway-build/slipway/worker/runner/testrun"
)

// shelf is a store of artifacts in memory.
type shelf struct {
	mu   sync.Mutex
	has  map[string][]byte
	fail error
}

func (s *shelf) Put(_ context.Context, digest string, size int64, r io.Reader) error {
	data, err := io.ReadAll(r)
	sum := sha256.Sum256(data)
	switch {
	case err != nil:
		return err
	case s.fail != nil:
		return s.fail
	case int64(len(data)) != size || "sha256:"+hex.EncodeToString(sum[:]) != digest:
		return fmt.Errorf("%d bytes are not %d bytes of %s", len(data), size, digest)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.has == nil {
		s.has = map[string][]byte{}
	}
	s.has[digest] = data
	return nil
}

func (s *shelf) Get(_ context.Context, digest string, w io.Writer) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.has[digest]; !ok {
		return errors.New("the artifact is gone: removed at 2026-01-02")
	}
	_, err := w.Write(s.has[digest])
	return err
}

// files of an artifact, by name: their content, or where they lead.
func (s *shelf) files(t *testing.T, a runner.Artifact) map[string]string {
	t.Helper()
	data := s.has[a.Digest]
	if a.File != "" {
		return map[string]string{a.File: string(data)}
	}
	dir := t.TempDir()
	if _, err := archive.Unpack(dir, bytes.NewReader(data), archive.Rules{}); err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		rel, _ := filepath.Rel(dir, name)
		if e.Type() == fs.ModeSymlink {
			to, err := os.Readlink(name)
			out[rel] = "-> " + to
			return err
		}
		content, err := os.ReadFile(name)
		out[rel] = string(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// leaves is a test that writes files and then ends with a code.
func leaves(end string, patterns ...runner.Pattern) func(*runner.Test) {
	return func(w *runner.Test) {
		w.Run = `mkdir -p out/shots/deep out/empty /tmp/more
printf one >out/shots/1.png; printf two >out/shots/deep/2.png; printf text >out/shots/deep/notes.txt
ln -s 1.png out/shots/same.png; ln -s /etc/passwd out/shots/elsewhere.png
printf '#!/bin/sh\n' >/tmp/more/tool; chmod +x /tmp/more/tool; ` + end
		w.Artifacts, w.Limits = patterns, runner.ArtifactLimits{Each: 1 << 20, All: 2 << 20}
	}
}

func TestArtifacts(t *testing.T) {
	f := buildkittest.Start(t)
	run := func(t *testing.T, s *shelf, edit func(*runner.Test)) (runner.Outcome, map[string]runner.Artifact) {
		t.Helper()
		o := testrun.New(f.Client).Storing(s, filepath.Join(t.TempDir(), "spool")).Run(t.Context(), task(t, edit), &runnertest.Recorder{})
		by := map[string]runner.Artifact{}
		for _, a := range o.Result.Artifacts {
			by[a.Name] = a
		}
		return o, by
	}
	patterns := []runner.Pattern{
		{Name: "folder", Pattern: "out"}, {Name: "all", Pattern: "out/**"}, {Name: "glob", Pattern: "out/**/*.png"}, {Name: "file", Pattern: "/tmp/more/tool"}, {Name: "none", Pattern: "dist/*"}, {Name: "hollow", Pattern: "out/empty"},
	}
	for end, kind := range map[string]runner.OutcomeKind{"exit 0": runner.Succeeded, "exit 1": runner.Failed} {
		t.Run(end, func(t *testing.T) {
			s := &shelf{}
			o, kept := run(t, s, leaves(end, patterns...))
			if o.Kind != kind || len(kept) != 4 {
				t.Fatalf("%s: %s; %+v", o.Kind, o.Message, kept)
			}
			whole := map[string]string{"shots/1.png": "one", "shots/deep/2.png": "two", "shots/deep/notes.txt": "text", "shots/same.png": "-> 1.png"}
			for name, want := range map[string]map[string]string{
				"folder": whole, "all": whole, "glob": {"shots/1.png": "one", "shots/deep/2.png": "two", "shots/same.png": "-> 1.png"}, "file": {"tool": "#!/bin/sh\n"},
			} {
				if diff := cmp.Diff(want, s.files(t, kept[name])); diff != "" {
					t.Errorf("%s: %s", name, diff)
				}
			}
			if a := kept["glob"]; a.Files != 2 || a.File != "" || a.Size != int64(len(s.has[a.Digest])) {
				t.Errorf("%+v", a)
			}
			if a := kept["file"]; a.Files != 1 || a.File != "tool" || !a.Executable {
				t.Errorf("%+v", a)
			}
			if kept["folder"].Digest != kept["all"].Digest {
				t.Error("the same files have two digests")
			}
		})
	}
	t.Run("too large", func(t *testing.T) {
		large := leaves("head -c 1500000 /dev/zero >out/large; cp out/large out/shots/large", runner.Pattern{Name: "large", Pattern: "out"}, runner.Pattern{Name: "small", Pattern: "out/shots/*.png"})
		o, kept := run(t, &shelf{}, large)
		if o.Kind != runner.Failed || o.Class != runner.ClassUser || len(kept) != 1 ||
			!strings.Contains(o.Message, "artifact large (out) was not kept: its files have 3 MiB; at most 1 MiB are kept (artifacts.max_mib in coordinator.yaml)") {
			t.Errorf("%s: %s; %+v", o.Kind, o.Message, kept)
		}
	})
	t.Run("too large together", func(t *testing.T) {
		o, _ := run(t, &shelf{}, func(w *runner.Test) {
			leaves("head -c 900000 /dev/zero >out/large", runner.Pattern{Name: "one", Pattern: "out"}, runner.Pattern{Name: "two", Pattern: "out"}, runner.Pattern{Name: "three", Pattern: "out"})(w)
		})
		if o.Kind != runner.Failed || !strings.Contains(o.Message, "artifact three (out) was not kept") || !strings.Contains(o.Message, "artifacts.task_mib") {
			t.Errorf("%s: %s", o.Kind, o.Message)
		}
	})
	t.Run("nowhere to store it", func(t *testing.T) {
		s := &shelf{fail: errors.New("the coordinator does not answer")}
		o, _ := run(t, s, leaves("exit 0", runner.Pattern{Name: "out", Pattern: "out"}))
		if o.Kind != runner.Errored || o.Class != runner.ClassInfra || !strings.Contains(o.Message, "the coordinator does not answer") {
			t.Errorf("%s: %s", o.Kind, o.Message)
		}
		o, _ = run(t, s, leaves("exit 1", runner.Pattern{Name: "out", Pattern: "out"}))
		if o.Kind != runner.Failed || !strings.Contains(o.Message, "exit code 1") || !strings.Contains(o.Message, "the coordinator does not answer") {
			t.Errorf("a test that failed, too: %s: %s", o.Kind, o.Message)
		}
	})
	t.Run("secrets are masked in text", func(t *testing.T) {
		s := &shelf{}
		tsk := task(t, func(w *runner.Test) {
			w.Secret = map[string]string{"PASSWORD": "db"}
			leaves(`echo "the password is $PASSWORD." >out/shots/log.txt; printf '\0%s' "$PASSWORD" >out/shots/blob`, runner.Pattern{Name: "shots", Pattern: "out/shots"}, runner.Pattern{Name: "log", Pattern: "out/shots/log.txt"})(w)
		})
		tsk.Secrets = map[string][]byte{"db": []byte("correct horse battery")}
		o := runner.Redact(nil)(testrun.New(f.Client).Storing(s, t.TempDir())).Run(t.Context(), tsk, &runnertest.Recorder{})
		if o.Kind != runner.Succeeded || len(o.Result.Artifacts) != 2 {
			t.Fatalf("%s: %s; %+v", o.Kind, o.Message, o.Result.Artifacts)
		}
		for _, a := range o.Result.Artifacts {
			got := s.files(t, a)
			if text := got["log.txt"]; text != "the password is *****.\n" {
				t.Errorf("%s: %q", a.Name, text)
			}
			if a.Name == "shots" && got["blob"] != "\x00correct horse battery" {
				t.Errorf("what is no text was changed: %q", got["blob"])
			}
		}
	})
	t.Run("a stage", func(t *testing.T) {
		s := &shelf{}
		o, kept := run(t, s, func(w *runner.Test) {
			w.Run, w.Build.Target = "", "unit"
			w.Artifacts, w.Limits = []runner.Pattern{{Name: "source", Pattern: "*.in"}}, runner.ArtifactLimits{Each: 1 << 20, All: 1 << 20}
		})
		if got := s.files(t, kept["source"]); o.Kind != runner.Succeeded || len(got) != 2 || got["junit.xml.in"] != junit {
			t.Errorf("%s: %s; %v", o.Kind, o.Message, got)
		}
	})
}

// TestWhatOtherTestsLeft is there for the command, which cannot change it, and for what lists its parts.
func TestWhatOtherTestsLeft(t *testing.T) {
	f := buildkittest.Start(t)
	s, dir := &shelf{}, filepath.Join(t.TempDir(), "spool")
	r := testrun.New(f.Client).Storing(s, dir)
	made := r.Run(t.Context(), task(t, leaves("exit 0", runner.Pattern{Name: "out", Pattern: "out"}, runner.Pattern{Name: "tool", Pattern: "/tmp/more/tool"})), &runnertest.Recorder{})
	if len(made.Result.Artifacts) != 2 {
		t.Fatalf("%s: %s", made.Kind, made.Message)
	}
	uses := func(run string, artifacts ...runner.Artifact) (runner.Outcome, string) {
		rec := &runnertest.Recorder{}
		o := r.Run(t.Context(), task(t, func(w *runner.Test) {
			w.Run = run
			for i, a := range artifacts {
				w.Use = append(w.Use, runner.Use{Path: []string{"/given/out", "tools", "/again"}[i], Task: "test/web/make", Artifact: a})
			}
		}), rec)
		return o, rec.Log()
	}
	out, tool := made.Result.Artifacts[0], made.Result.Artifacts[1]
	for range 2 { // what BuildKit has of it already is used again
		o, log := uses(`set -e; cat /given/out/shots/deep/2.png; readlink /given/out/shots/same.png; test -x /src/tools/tool; test -f /again/shots/1.png
if echo x >/given/out/mine 2>/dev/null; then echo "it can be written"; exit 1; fi`, out, tool, out)
		if o.Kind != runner.Succeeded || !strings.Contains(log, "two1.png") || !strings.Contains(log, "fetch out of test/web/make") {
			t.Errorf("%s: %s\n%s", o.Kind, o.Message, log)
		}
	}
	sharded := task(t, func(w *runner.Test) {
		w.Run, w.Shard = "cat $SLIPWAY_TESTS", &runner.Shard{Number: 1, Of: 1, List: "ls /given/shots"}
		w.Use = []runner.Use{{Path: "/given", Task: "test/web/make", Artifact: out}}
	})
	rec := &runnertest.Recorder{}
	if o := r.Run(t.Context(), sharded, rec); o.Kind != runner.Succeeded || !strings.Contains(rec.Log(), "1.png") {
		t.Errorf("a list: %s: %s", o.Kind, o.Message)
	}

	gone := out
	gone.Digest = "sha256:" + strings.Repeat("0", 64)
	if o, _ := uses("true", gone); o.Kind != runner.Errored || o.Class != runner.ClassInfra || !strings.Contains(o.Message, "what test/web/make left as out cannot be had: the artifact is gone: removed at 2026-01-02; when it is not kept any more, a new run") {
		t.Errorf("what is gone: %s: %s", o.Kind, o.Message)
	}
	s.has[out.Digest] = append(bytes.Clone(s.has[out.Digest]), 'x')
	if o, _ := uses("true", out); o.Kind != runner.Errored || !strings.Contains(o.Message, "its bytes have the digest") {
		t.Errorf("other bytes: %s: %s", o.Kind, o.Message)
	}
	if o, _ := uses("true", runner.Artifact{Name: "out"}); o.Kind != runner.Errored || !strings.Contains(o.Message, "it was not left") {
		t.Errorf("what was not left: %s: %s", o.Kind, o.Message)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left on the worker's disk: %v, %v", left, err)
	}
}

func TestWhatOthersUseMustBeThere(t *testing.T) {
	f := buildkittest.Start(t)
	o := testrun.New(f.Client).Storing(&shelf{}, t.TempDir()).Run(t.Context(), task(t, leaves("exit 0", runner.Pattern{Name: "dist", Pattern: "dist", Required: true})), &runnertest.Recorder{})
	if o.Kind != runner.Failed || !strings.Contains(o.Message, "artifact dist (dist) was not kept: no file matches, and another test uses it") {
		t.Errorf("%s: %s", o.Kind, o.Message)
	}
}

// TestCoverage: files are read whether the test passed or not, and what is wrong with them fails none.
func TestCoverage(t *testing.T) {
	f := buildkittest.Start(t)
	const write = `mkdir -p cov; printf 'SF:/src/a.js\nDA:1,1\nDA:2,0\nend_of_record\n' >cov/lcov.info; printf 'mode: set\nb.go:1.1,3.2 1 1\n' >cov/b.info; `
	for run, want := range map[string]string{
		write + "true":                  "succeeded 4/5",
		write + "false":                 "failed 4/5",
		"true":                          "succeeded no file matches /src/cov/*.info",
		"mkdir cov; echo x >cov/x.info": "succeeded /src/cov/x.info: it is no profile of Go",
	} {
		s := &shelf{}
		o := testrun.New(f.Client).Storing(s, t.TempDir()).Run(t.Context(), task(t, func(w *runner.Test) { w.Run, w.Coverage = run, "cov/*.info" }), &runnertest.Recorder{})
		got := string(o.Kind)
		if c := o.Result.Coverage; c != nil {
			got += fmt.Sprintf(" %d/%d", c.Covered, c.Total)
			if kept := o.Result.Artifacts; len(kept) != 1 || s.files(t, kept[0])["coverage.json"] != `{"covered":4,"total":5,"files":[{"path":"a.js","covered":1,"total":2},{"path":"b.go","covered":3,"total":3}]}` {
				t.Errorf("%s: %v, %q", run, kept, s.has)
			}
		} else if _, after, ok := strings.Cut(o.Message, "coverage: "); ok {
			got += " " + after
		}
		if !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s, want %s", run, got, want)
		}
	}
}

// TestAFileMayHaveAnyName: one that is as long as a name can be, and one that no honest worker says.
func TestAFileMayHaveAnyName(t *testing.T) {
	f := buildkittest.Start(t)
	s, dir := &shelf{}, filepath.Join(t.TempDir(), "a", "spool")
	r := testrun.New(f.Client).Storing(s, dir)
	long := strings.Repeat("é", 120)
	made := r.Run(t.Context(), task(t, func(w *runner.Test) {
		w.Run, w.Artifacts = "mkdir -p /tmp; echo x >/tmp/"+long, []runner.Pattern{{Name: "long", Pattern: "/tmp/" + long}}
		w.Limits = runner.ArtifactLimits{Each: 1 << 20, All: 1 << 20}
	}), &runnertest.Recorder{})
	if len(made.Result.Artifacts) != 1 {
		t.Fatalf("%s: %s", made.Kind, made.Message)
	}
	used := made.Result.Artifacts[0]
	for file, want := range map[string]string{long: long, "x/../../../out": "out"} {
		used.File = file
		o := r.Run(t.Context(), task(t, func(w *runner.Test) {
			w.Run, w.Use = "cat /given/"+want, []runner.Use{{Path: "/given", Task: "test/web/make", Artifact: used}}
		}), &runnertest.Recorder{})
		if o.Kind != runner.Succeeded {
			t.Errorf("%s: %s: %s", file, o.Kind, o.Message)
		}
	}
	if left, err := os.ReadDir(filepath.Dir(dir)); err != nil || len(left) != 1 {
		t.Errorf("beside the worker's folder of artifacts: %v, %v", left, err)
	}
}
