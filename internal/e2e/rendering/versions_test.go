//go:build e2e

package rendering_test

import (
	"debug/buildinfo"
	"os/exec"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestCommandsAreThoseOfTheLibraries: a library that is newer than its command would be compared with something else.
func TestCommandsAreThoseOfTheLibraries(t *testing.T) {
	for command, library := range map[string]string{"helm": "helm.sh/helm/v4", "kustomize": "sigs.k8s.io/kustomize/api"} {
		file, err := exec.LookPath(command)
		if err != nil {
			t.Fatalf("%v: make e2e builds it", err)
		}
		built, err := buildinfo.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		has := map[string]string{built.Main.Path: built.Main.Version}
		for _, d := range built.Deps {
			has[d.Path] = d.Version
		}
		if diff := cmp.Diff(goList(t, library, "{{.Version}}"), has[library]); diff != "" {
			t.Errorf("%s is of another %s than go.mod (-go.mod +command): change its version in internal/toolchain\n%s", command, library, diff)
		}
	}
}
