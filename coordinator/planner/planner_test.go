package planner_test

import (
	"flag"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/slipway-build/slipway/coordinator/pipeline"
	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/planner"
)

func TestMain(m *testing.M) {
	flag.Bool("update", false, "write what comes out into testdata")
	flag.Parse()
	os.Exit(m.Run())
}

// tester is what *testing.T and *rapid.T have in common.
type tester interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// commit is a repository at one commit, made from files.
type commit map[string][]byte

// objects are the identities of every file and folder.
func (c commit) objects() map[string]string {
	lines := map[string][]string{}
	out := map[string]string{}
	for file, data := range c {
		out[file] = "100644:" + strings.TrimPrefix(plan.Sum(data), "sha256:")
		for dir := path.Dir(file); ; dir = path.Dir(dir) {
			lines[dir] = append(lines[dir], file+" "+out[file])
			if dir == "." {
				break
			}
		}
	}
	for dir, list := range lines {
		slices.Sort(list)
		out[dir] = "040000:" + strings.TrimPrefix(plan.Sum([]byte(strings.Join(list, "\n"))), "sha256:")
	}
	return out
}

func (c commit) pipelineFiles() map[string][]byte {
	out := map[string][]byte{}
	for file, data := range c {
		if _, ok := pipeline.IsServiceFile(file); ok || file == pipeline.File {
			out[file] = data
		}
	}
	return out
}

func parse(t tester, c commit, targets []byte) (*pipeline.Pipeline, *pipeline.Targets) {
	t.Helper()
	p, problems := pipeline.Parse(c.pipelineFiles())
	if err := problems.Err(); err != nil {
		t.Fatal(err)
	}
	if targets == nil {
		return p, nil
	}
	ts, problems := pipeline.ParseTargets("targets.yaml", targets)
	if err := problems.Err(); err != nil {
		t.Fatal(err)
	}
	return p, ts
}

func input(t tester, c commit, targets []byte) planner.Input {
	p, ts := parse(t, c, targets)
	all, objects := c.objects(), map[string]string{}
	for _, path := range planner.Paths(p, ts) { // nothing else may be needed
		if id, ok := all[path]; ok {
			objects[path] = id
		}
	}
	return planner.Input{
		Pipeline: p, Targets: ts, Repository: "https://git.example.com/shop.git", Ref: "main",
		Commit: "1111111111111111111111111111111111111111", Objects: objects,
		Registry: "127.0.0.1:7423/shop", Platform: "linux/amd64", Runner: "1", Scope: "trusted",
	}
}

// results answers for the digests of earlier plans.
type results map[string]plan.Reuse

// run records a plan as if it had succeeded.
func (r results) run(id string, p plan.Plan) {
	for _, task := range p.Tasks {
		if task.Digest == "" || task.Reuse != nil {
			continue
		}
		result := plan.Result{}
		if task.Kind == plan.KindBuild {
			result.Image = task.Build.Push + "@" + plan.Sum([]byte(id+task.ID))
		}
		if task.Kind == plan.KindRender {
			if build, ok := p.Find(task.Render.Image); ok {
				result.Image = r[build.Digest].Result.Image
			}
		}
		r[task.Digest] = plan.Reuse{Run: id, Result: result}
	}
}

func (r results) known(digest string) (plan.Reuse, bool) {
	reuse, ok := r[digest]
	return reuse, ok
}

// Each archive holds a repository: its first commit, and below "next/" what the second
// one changes ("next/x" that is empty removes x). "want" are the trees of both plans,
// where the second follows a first that succeeded, and the second as JSON.
func TestGolden(t *testing.T) {
	update := flag.Lookup("update").Value.String() == "true"
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no archives: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var want []byte
			inputs := txtar.Archive{Comment: archive.Comment}
			for _, f := range archive.Files {
				if f.Name == "want" {
					want = f.Data
				} else {
					inputs.Files = append(inputs.Files, f)
				}
			}
			got := story(t, inputs.Files)
			if update {
				inputs.Files = append(inputs.Files, txtar.File{Name: "want", Data: []byte(got)})
				if err := os.WriteFile(file, txtar.Format(&inputs), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("-want +got (or run with -update):\n%s", diff)
			}
		})
	}
}

func story(t *testing.T, files []txtar.File) string {
	t.Helper()
	first, second := commit{}, commit{}
	var changed []string
	var targets []byte
	for _, f := range files {
		name, isNext := strings.CutPrefix(f.Name, "next/")
		switch {
		case f.Name == "targets.yaml":
			targets = f.Data
		case !isNext:
			first[name], second[name] = f.Data, f.Data
		case len(f.Data) == 0:
			delete(second, name)
			changed = append(changed, name)
		default:
			second[name] = f.Data
			changed = append(changed, name)
		}
	}
	in := input(t, first, targets)
	a, problems := planner.Plan(in)
	if len(problems) > 0 {
		return problems.Pretty()
	}
	known := results{}
	known.run("run-1", a)

	next := input(t, second, targets)
	next.Base, next.BasePipeline, next.Changed = in.Commit, in.Pipeline, changed
	next.Commit, next.Known = "2222222222222222222222222222222222222222", known.known
	b, problems := planner.Plan(next)
	if len(problems) > 0 {
		return planner.Tree(a) + "\n" + problems.Pretty()
	}
	data, err := plan.Encode(b)
	if err != nil {
		t.Fatal(err)
	}
	return planner.Tree(a) + "\n" + planner.Tree(b) + "\n" + indent(t, data)
}

// A plan says which secrets a task gets by name; another name is another digest, and a
// task without secrets has the digest that it had before there were any.
func TestSecretsAreNames(t *testing.T) {
	files := func(env string) commit {
		return commit{"slipway.yaml": []byte("version: 1\nproject: shop\nservices:\n  a:\n    path: a\n    build: { secrets: { npm: { secret: registry } } }\n" +
			"    test: { unit: { run: x, in: t, env: { DB: { secret: " + env + " } } }, stage: { target: t } }\n"), "a/Dockerfile": []byte("FROM x")}
	}
	targets := []byte("version: 1\nproject: shop\nclusters: { c: { labels: { x: y } } }\nenvironments: { dev: { clusters: { x: y }, namespace: n } }\n" +
		"secrets:\n  registry: { for: [build], file: /r }\n  db: { for: [test], file: /d }\n  db2: { for: [test], file: /d2 }\n")
	plans := map[string]plan.Plan{}
	for _, name := range []string{"db", "db2"} {
		p, problems := planner.Plan(input(t, files(name), targets))
		if problems != nil {
			t.Fatal(problems.Pretty())
		}
		plans[name] = p
	}
	find := func(name, id string) *plan.Task {
		p := plans[name]
		task, ok := p.Find(id)
		if !ok {
			t.Fatalf("no task %s", id)
		}
		return task
	}
	unit := find("db", "test/a/unit")
	if diff := cmp.Diff(map[string]string{"npm": "registry"}, unit.Test.Build.Secrets); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]string{"DB": "db"}, unit.Test.Secret); diff != "" {
		t.Error(diff)
	}
	if unit.Digest == find("db2", "test/a/unit").Digest {
		t.Error("another secret has the same digest")
	}
	for _, id := range []string{"build/a", "test/a/stage"} {
		if find("db", id).Digest != find("db2", id).Digest {
			t.Errorf("%s: another secret of another task changes its digest", id)
		}
	}
	in := input(t, files("db"), nil)
	if _, problems := planner.Plan(in); len(problems) != 2 || problems[0].Line != 6 {
		t.Errorf("without targets: %v", problems)
	}
}
