package submit

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestTargetsOfAFolder: each project has its own file, one without a file has none, and a mistake is
// told with the file that it is in.
func TestTargetsOfAFolder(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"shop.yaml": "version: 1\nproject: shop\nquotas: { core: { running: 2 } }\n", "blog.yaml": "version: 1\nproject: blog\nquota: {}\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := &Submitter{cfg: Config{TargetsFile: dir}}
	if got, err := s.Targets("shop"); err != nil || got == nil || got.Project != "shop" || len(got.Quotas) != 1 {
		t.Errorf("shop: %+v, %v", got, err)
	}
	if got, err := s.Targets("other"); err != nil || got != nil {
		t.Errorf("a project without a file: %+v, %v", got, err)
	}
	var problems *ProblemsError
	if _, err := s.Targets("blog"); !errors.As(err, &problems) || !strings.Contains(err.Error(), filepath.Join(dir, "blog.yaml")+":3:1") {
		t.Errorf("a mistake: %v", err)
	}
	s = &Submitter{cfg: Config{TargetsFile: filepath.Join(dir, "shop.yaml")}}
	if got, err := s.Targets("blog"); err != nil || got.Project != "shop" { // whose they are the planner compares
		t.Errorf("one file for all: %+v, %v", got, err)
	}
	s = &Submitter{cfg: Config{TargetsFile: filepath.Join(dir, "gone")}}
	if _, err := s.Targets("shop"); err == nil || !strings.Contains(err.Error(), "read the coordinator's targets") {
		t.Errorf("a file that is gone: %v", err)
	}
}
