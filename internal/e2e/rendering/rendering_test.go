//go:build e2e

package rendering_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/chart/common"

	"github.com/slipway-build/slipway/worker/runner"
)

const (
	release   = "rel"
	namespace = "shop"
	root      = "../../.."
)

func TestChartsAreWhatHelmMakesOfThem(t *testing.T) {
	inputs := charts(t, module(t, "helm.sh/helm/v4"), "helm.sh/helm/v4")
	inputs = append(inputs, charts(t, module(t, "sigs.k8s.io/kustomize/api"), "sigs.k8s.io/kustomize/api")...)
	inputs = append(inputs, charts(t, filepath.Join(root, "examples", "shop"), "examples/shop")...)
	inputs = append(inputs, charts(t, filepath.Join(root, "charts"), "charts")...)
	compareAll(t, inputs, 300, []kind{random, empty, incomplete, refused, hooks}, func(t *testing.T, in input) verdict {
		t.Helper()
		dir, chart := copied(t, in)
		args := []string{"template", release, chart, "--include-crds", "--namespace", namespace, "--kube-version", common.DefaultCapabilities.KubeVersion.Version}
		work := runner.Render{Path: chart, Paths: []string{"."}, Using: runner.UsingHelm, Environment: "none", Cluster: "none", Namespace: namespace}
		if in.archive {
			args[2], work.Path = filepath.Base(in.dir), unpacked(t, dir, filepath.Base(in.dir))
		}
		for _, v := range in.values {
			args, work.Values = append(args, "-f", filepath.Join(chart, v)), append(work.Values, filepath.Join(chart, v))
		}
		return compare(t, dir, work, "helm", args...)
	})
}

func TestKustomizationsAreWhatKustomizeMakesOfThem(t *testing.T) {
	itself := func(dir string) string { return dir }
	inputs := kustomizations(t, module(t, "sigs.k8s.io/kustomize/api"), "sigs.k8s.io/kustomize/api", filepath.Dir)
	inputs = append(inputs, kustomizations(t, filepath.Join(root, "examples", "shop"), "examples/shop", func(dir string) string {
		if filepath.Base(filepath.Dir(dir)) == "overlays" {
			return filepath.Dir(filepath.Dir(dir))
		}
		return itself(dir)
	})...)
	inputs = append(inputs, written(t, module(t, "sigs.k8s.io/kustomize/api"), "sigs.k8s.io/kustomize/api")...)
	compareAll(t, inputs, 250, []kind{empty, incomplete, refused, remote}, func(t *testing.T, in input) verdict {
		t.Helper()
		dir, at := copied(t, in)
		work := runner.Render{Path: at, Paths: []string{"."}, Using: runner.UsingKustomize, Environment: "none", Cluster: "none"}
		v := compare(t, dir, work, "kustomize", "build", at)
		if v.kind != equal || outermost(t, filepath.Join(dir, at)) {
			return v
		}
		// The namespace of a target is set as by a kustomization around it.
		work.Namespace = namespace
		outer := filepath.Join(dir, "around")
		write(t, filepath.Join(outer, "kustomization.yaml"), "namespace: "+namespace+"\nresources: [../"+at+"]\n")
		return compare(t, dir, work, "kustomize", "build", "around")
	})
}

// outermost says whether the kustomization has what kustomize reads in the outermost one alone: with another around it, it is another.
func outermost(t *testing.T, dir string) bool {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "kustomization.yaml"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return slices.ContainsFunc([]string{"sortOptions:", "buildMetadata:", "openapi:"}, func(key string) bool { return bytes.Contains(text, []byte("\n"+key)) })
}

// copied puts the input into a folder of its own: what is in the module cache cannot be written.
func copied(t *testing.T, in input) (dir, at string) {
	t.Helper()
	dir = t.TempDir()
	if in.archive {
		data, err := os.ReadFile(in.dir)
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, filepath.Base(in.dir)), string(data))
		return dir, ""
	}
	if err := os.CopyFS(filepath.Join(dir, "in"), os.DirFS(in.from)); err != nil {
		t.Fatal(err)
	}
	within, err := filepath.Rel(in.from, in.dir)
	if err != nil {
		t.Fatal(err)
	}
	return dir, filepath.ToSlash(filepath.Join("in", within))
}

// unpacked is the folder that is in an archive; empty: it is none.
func unpacked(t *testing.T, dir, archive string) string {
	t.Helper()
	if err := os.Mkdir(filepath.Join(dir, "unpacked"), 0o755); err != nil {
		t.Fatal(err)
	}
	_ = exec.CommandContext(t.Context(), "tar", "-C", filepath.Join(dir, "unpacked"), "-xzf", filepath.Join(dir, archive)).Run()
	top, err := filepath.Glob(filepath.Join(dir, "unpacked", "*", "Chart.yaml"))
	if err != nil || len(top) != 1 {
		return "unpacked"
	}
	return "unpacked/" + filepath.Base(filepath.Dir(top[0]))
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// says is what a command prints, or why it does not.
func says(t *testing.T, dir, command string, args ...string) ([]byte, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), command, args...)
	cmd.Dir = dir
	home := t.TempDir()
	// Nothing is to be fetched, and nothing of this machine's own is to be read.
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "HELM_") || strings.HasPrefix(v, "KUBE") }),
		"HOME="+home, "XDG_CONFIG_HOME="+home, "XDG_CACHE_HOME="+home, "XDG_DATA_HOME="+home, "HTTPS_PROXY=http://127.0.0.1:1", "HTTP_PROXY=http://127.0.0.1:1")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s: %v: make e2e builds it", command, err)
	}
	if err != nil {
		return nil, fmt.Errorf("%s", strings.TrimSpace(stderr.String()))
	}
	return out, nil
}
