package toolchain

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
)

// Set names what a group of tools is for.
type Set string

// The sets that can be asked for.
const (
	Demo Set = "demo" // make demo and slipway up
	Test Set = "test" // make test
	E2E  Set = "e2e"  // make e2e
	Lint Set = "lint" // make lint and make gen
)

// Step provides one program. Exactly one of Package, Install and NPM is set.
type Step struct {
	Name string // of the program, and of its file
	Why  string // what it is for, to follow "for"
	// Lane orders steps: those of one lane share what they compile and run one after the other.
	Lane string

	// Package is built in the module at Dir, a path below the repository's root, with Flags and Env.
	Package string
	Dir     string
	Flags   []string
	Env     []string

	// Install is a Go package at a version, "example.com/cmd/x@v1.2.3", built by its own go.mod.
	Install string

	// NPM is a package at a version; File is the program inside it.
	NPM  string
	File string
}

const (
	buildkitVersion = "v0.34.2"
	golangciVersion = "v2.14.0"
	bufVersion      = "1.75.0"

	// Those whose libraries go.mod has: a test compares them with it.
	helmVersion      = "v4.3.1"
	kustomizeVersion = "v5.8.1" // of kustomize/api v0.21.1

	buildkitDir = "scripts/tools/buildkit"
	jaegerDir   = "scripts/tools/jaeger"
	clusterDir  = "scripts/devcluster"
)

// Steps lists what a set needs, in the order in which to begin. root is the root of Slipway's repository.
func Steps(root string, set Set) ([]Step, error) {
	var steps []Step
	switch set {
	case Lint:
		return append(steps, golangci(), buf()), nil
	case Demo, Test, E2E:
	default:
		return nil, fmt.Errorf("no set of tools is called %q: want demo, test, e2e or lint", set)
	}
	cluster, err := clusterSteps(root, set)
	if err != nil {
		return nil, err
	}
	steps = append(buildkit(), cluster...)
	if set == E2E {
		steps = append(steps, jaeger())
		steps = append(steps, renderers()...)
	}
	return steps, nil
}

func buildkit() []Step {
	step := func(name, why string) Step {
		return Step{
			Name: name, Why: why, Lane: "buildkit", Dir: buildkitDir,
			Package: "github.com/moby/buildkit/cmd/" + name,
			Flags:   []string{"-trimpath", "-ldflags", "-s -w -X github.com/moby/buildkit/version.Version=" + buildkitVersion},
			Env:     []string{"CGO_ENABLED=0"},
		}
	}
	return []Step{
		step("buildkitd", "building and testing images"),
		step("buildctl", "looking at builds by hand"),
	}
}

func jaeger() Step {
	return Step{
		Name: "jaeger", Why: "looking at traces", Lane: "jaeger", Dir: jaegerDir,
		Package: "github.com/jaegertracing/jaeger/cmd/jaeger",
		Flags:   []string{"-trimpath", "-ldflags", "-s -w"},
		Env:     []string{"CGO_ENABLED=0"},
	}
}

// renderers are the commands that rendering is compared with, as their projects release them.
func renderers() []Step {
	step := func(name, install string) Step {
		return Step{
			Name: name, Why: "comparing what is rendered with what it renders", Lane: "renderers", Install: install,
			Flags: []string{"-trimpath", "-ldflags", "-s -w"}, Env: []string{"CGO_ENABLED=0"},
		}
	}
	return []Step{
		step("helm", "helm.sh/helm/v4/cmd/helm@"+helmVersion),
		step("kustomize", "sigs.k8s.io/kustomize/kustomize/v5@"+kustomizeVersion),
	}
}

func golangci() Step {
	return Step{
		Name: "golangci-lint", Why: "checking the Go code", Lane: "golangci-lint",
		Install: "github.com/golangci/golangci-lint/v2/cmd/golangci-lint@" + golangciVersion,
	}
}

// buf is distributed for npm as one package per platform, with the program in it.
func buf() Step {
	arch := map[string]string{"amd64": "x64", "386": "ia32"}[runtime.GOARCH]
	if arch == "" {
		arch = runtime.GOARCH
	}
	return Step{
		Name: "buf", Why: "checking and compiling the protocol files", Lane: "buf",
		NPM:  fmt.Sprintf("@bufbuild/buf-%s-%s@%s", runtime.GOOS, arch, bufVersion),
		File: "bin/buf",
	}
}

// clusterList is scripts/devcluster/build.json, which tells how to build the programs of a development cluster.
type clusterList struct {
	Env      map[string]string `json:"env"`
	GoFlags  []string          `json:"goflags"`
	LDFlags  map[string]string `json:"ldflags"` // by name
	Programs []struct {
		Name    string   `json:"name"`
		Module  string   `json:"module"` // folder, relative to the file
		Package string   `json:"package"`
		LDFlags string   `json:"ldflags"` // a name
		Kinds   []string `json:"kinds"`   // of cluster: kwok, node
		Why     string   `json:"why"`
	} `json:"programs"`
}

// clusterSteps reads the list of the development cluster's programs. Those of a real node are left out where there
// cannot be one, and for tests, which make do with simulated nodes.
func clusterSteps(root string, set Set) ([]Step, error) {
	file := filepath.Join(root, clusterDir, "build.json")
	content, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("programs of the development cluster: %w", err)
	}
	var list clusterList
	if err := json.Unmarshal(content, &list); err != nil {
		return nil, fmt.Errorf("programs of the development cluster: %s: %w", file, err)
	}
	var env []string
	for k, v := range list.Env {
		env = append(env, k+"="+v)
	}
	slices.Sort(env)
	var steps []Step
	for _, p := range list.Programs {
		if !slices.Contains(p.Kinds, "kwok") && (set == Test || runtime.GOOS != "linux") {
			continue
		}
		flags := slices.Clone(list.GoFlags)
		if p.LDFlags != "" {
			value, ok := list.LDFlags[p.LDFlags]
			if !ok {
				return nil, fmt.Errorf("programs of the development cluster: %s: %s names ldflags %q, which are not there", file, p.Name, p.LDFlags)
			}
			flags = append(flags, "-ldflags", value)
		}
		dir := path.Join(clusterDir, p.Module)
		steps = append(steps, Step{
			Name: p.Name, Why: "development clusters: " + p.Why, Lane: dir, Dir: dir,
			Package: p.Package, Flags: flags, Env: env,
		})
	}
	return steps, nil
}
