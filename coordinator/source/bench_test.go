package source_test

import (
	"fmt"
	"testing"
)

// BenchmarkPlan is what the plan of a push asks of a commit that changes one file of 40 services.
func BenchmarkPlan(b *testing.B) {
	r := newRepo(b)
	files, paths, dockerfiles := map[string]string{"slipway.yaml": "version: 1\n"}, []string{"libs"}, []string(nil)
	for i := range 40 {
		dir := fmt.Sprintf("services/s%02d", i)
		files[dir+"/service.yaml"], files[dir+"/Dockerfile"], files[dir+"/main.go"] = "x\n", "FROM scratch\n", "x\n"
		paths, dockerfiles = append(paths, dir), append(dockerfiles, dir+"/Dockerfile")
	}
	files["libs/a"] = "a\n"
	base := r.commit(files)
	m := newMirror(b, r.dir)
	resolve(b, m, r.dir, "main")
	for i := 0; b.Loop(); i++ {
		b.StopTimer()
		c := r.commit(map[string]string{"services/s07/main.go": fmt.Sprintf("%d\n", i)})
		b.StartTimer()
		if got := resolve(b, m, r.dir, c); got != c {
			b.Fatalf("%s, want %s", got, c)
		}
		if f, err := m.Files(b.Context(), r.dir, c, []string{"slipway.yaml", "services/*/service.yaml"}); err != nil || len(f) != 41 {
			b.Fatal(len(f), err)
		}
		if tree, err := m.Tree(b.Context(), r.dir, c, paths); err != nil || len(tree) != 41 {
			b.Fatal(len(tree), err)
		}
		if u, err := m.Unusable(b.Context(), r.dir, c, paths); err != nil || len(u) != 0 {
			b.Fatal(u, err)
		}
		if changed, err := m.Changed(b.Context(), r.dir, base, c); err != nil || len(changed) != 1 {
			b.Fatal(changed, err)
		}
		if f, err := m.Named(b.Context(), r.dir, c, dockerfiles); err != nil || len(f) != 40 {
			b.Fatal(len(f), err)
		}
	}
}
