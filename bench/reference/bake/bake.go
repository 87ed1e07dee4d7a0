// Package bake builds a generated repository without Slipway: all of it with Docker's buildx, one service of it with
// BuildKit's own buildctl, both by the daemon that ours is measured with.
package bake

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/slipway-build/slipway/examples/many"
)

// module is what is built where there is no buildx yet.
const module = "github.com/docker/buildx/cmd/buildx@v0.38.2"

// Bake is buildx with a daemon and a registry.
type Bake struct {
	buildx   string
	buildctl string
	address  string // of the daemon
	registry string // host:port/prefix that images are pushed to
	config   string // folder of Docker's configuration
	builder  string // folder of buildx's
}

// Config of a Bake.
type Config struct {
	Programs string // folder where buildx is kept
	Scratch  string
	BuildCtl string
	Address  string
	Registry string
	Auth     string // file with credentials, as Docker's config.json
}

// New makes buildx if it is not there, which takes minutes, and tells it of the daemon.
func New(ctx context.Context, cfg Config) (*Bake, error) {
	programs, err := filepath.Abs(cfg.Programs)
	if err != nil {
		return nil, fmt.Errorf("folder of buildx: %w", err)
	}
	b := &Bake{
		buildx: filepath.Join(programs, "buildx"), buildctl: cfg.BuildCtl, address: cfg.Address, registry: cfg.Registry,
		config: filepath.Join(cfg.Scratch, "docker"), builder: filepath.Join(cfg.Scratch, "buildx"),
	}
	if err := install(ctx, b.buildx); err != nil {
		return nil, err
	}
	auth, err := os.ReadFile(cfg.Auth)
	if err != nil {
		return nil, fmt.Errorf("read credentials of the registry: %w", err)
	}
	if err := os.MkdirAll(b.config, 0o700); err != nil {
		return nil, fmt.Errorf("keep credentials of the registry: %w", err)
	}
	if err := os.WriteFile(filepath.Join(b.config, "config.json"), auth, 0o600); err != nil {
		return nil, fmt.Errorf("keep credentials of the registry: %w", err)
	}
	_, err = b.run(ctx, "", b.buildx, "create", "--name", "bench", "--driver", "remote", cfg.Address)
	return b, err
}

// install makes buildx if it is not there.
func install(ctx context.Context, buildx string) error {
	if _, err := os.Stat(buildx); err == nil {
		return nil
	}
	cmd := exec.CommandContext(ctx, "go", "install", module)
	cmd.Env = append(os.Environ(), "GOBIN="+filepath.Dir(buildx), "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build buildx: %w\n%s", err, out)
	}
	return nil
}

// File writes docker-bake.json for a generated repository.
func (b *Bake) File(dir string, services []many.Service) error {
	type target struct {
		Context    string            `json:"context"`
		Dockerfile string            `json:"dockerfile"`
		Contexts   map[string]string `json:"contexts,omitempty"`
		Output     []string          `json:"output"`
	}
	file := struct {
		Group  map[string]any    `json:"group"`
		Target map[string]target `json:"target"`
	}{map[string]any{}, map[string]target{}}
	names := make([]string, len(services))
	for i, s := range services {
		names[i] = s.Name
		t := target{Context: ".", Dockerfile: s.Path + "/Dockerfile", Output: []string{"type=image,push=true,name=" + b.registry + "/" + s.Name}}
		if s.Base != "" {
			t.Contexts = map[string]string{"base": "target:" + s.Base}
		}
		file.Target[s.Name] = t
	}
	file.Group["default"] = map[string]any{"targets": names}
	data, err := json.MarshalIndent(file, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the bake file: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "docker-bake.json"), data, 0o644); err != nil {
		return fmt.Errorf("write the bake file: %w", err)
	}
	return nil
}

// Report is what a build took.
type Report struct {
	Elapsed time.Duration
	CPU     float64           // seconds of the client
	Digests map[string]string // of each image
}

// All builds and pushes every target.
func (b *Bake) All(ctx context.Context, dir string) (Report, error) {
	meta := filepath.Join(b.builder, "metadata.json")
	rep, err := b.run(ctx, dir, b.buildx, "bake", "--builder", "bench", "--file", "docker-bake.json", "--provenance=false", "--progress=quiet", "--metadata-file", meta)
	if err != nil {
		return rep, err
	}
	data, err := os.ReadFile(meta)
	if err != nil {
		return rep, fmt.Errorf("read what was built: %w", err)
	}
	var targets map[string]json.RawMessage
	if err := json.Unmarshal(data, &targets); err != nil {
		return rep, fmt.Errorf("read what was built: %w", err)
	}
	rep.Digests = map[string]string{}
	for name, t := range targets {
		var m struct {
			Digest string `json:"containerimage.digest"`
		}
		if json.Unmarshal(t, &m) == nil && m.Digest != "" {
			rep.Digests[name] = m.Digest
		}
	}
	return rep, nil
}

// One builds and pushes one service that is built on an image.
func (b *Bake) One(ctx context.Context, dir string, s many.Service, base string) (Report, error) {
	return b.run(ctx, dir, b.buildctl, "--addr", b.address, "build", "--progress", "quiet", "--frontend", "dockerfile.v0", "--local", "context=.", "--local", "dockerfile=.",
		"--opt", "filename="+s.Path+"/Dockerfile", "--opt", "context:base=docker-image://"+base, "--output", "type=image,push=true,name="+b.registry+"/one-"+s.Name)
}

func (b *Bake) run(ctx context.Context, dir, program string, args ...string) (Report, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "DOCKER_CONFIG="+b.config, "BUILDX_CONFIG="+b.builder)
	start := time.Now()
	out, err := cmd.CombinedOutput()
	rep := Report{Elapsed: time.Since(start)}
	if err != nil {
		return rep, fmt.Errorf("%s %s: %w: %s", filepath.Base(program), args[0], err, strings.TrimSpace(string(out)))
	}
	rep.CPU = (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()
	return rep, nil
}
