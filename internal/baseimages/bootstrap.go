package baseimages

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Labels of every image made here.
const (
	LabelHomemade    = "dev.slipway.homemade"
	LabelInputs      = "dev.slipway.inputs"
	LabelDescription = "org.opencontainers.image.description"
)

// Config says where images go and what they are made from.
type Config struct {
	// Registry is the host and port to push to, and Prefix what repository names begin with there.
	Registry, Prefix string
	// User and Password may write below Prefix.
	User, Password string
	// GoRoot is a Go installation; empty: that of the go command on PATH.
	GoRoot string
	// As are names of images, as Dockerfiles write them, that the images made are given too, whatever version they ask for.
	As []string
	// Progress is called when an image begins and when it is done, one at a time; nil says nothing.
	Progress func(Event)
}

// Event is a step of Bootstrap, for people to read.
type Event struct {
	Image string // "docker.io/library/golang:1.26"
	// Done tells the end of an image from its beginning. Reused: it was there, from the same inputs.
	Done, Reused bool
	Bytes        int64 // of its own layers, compressed; 0 when reused
	Took         time.Duration
	// Is, when set, is the image that Image, one of Config.As, now means.
	Is string
	// Missing, when set, is why an image is left out; the other fields but Image are zero then.
	Missing string
}

// Record is one image that stands in for a real one.
type Record struct {
	Name        string   `json:"name"` // "docker.io/library/golang:1.26"
	Aliases     []string `json:"aliases,omitempty"`
	Digest      string   `json:"digest"`
	Homemade    bool     `json:"homemade"`
	Description string   `json:"description"`
}

// Bootstrap makes every base image that this machine's files allow and pushes those that the registry does not have.
// Each is pushed whole before its tags are moved, so it may be interrupted and repeated.
func Bootstrap(ctx context.Context, cfg Config) ([]Record, error) {
	say := cfg.Progress
	if say == nil {
		say = func(Event) {}
	}
	list, missing, err := recipes(ctx, find(ctx, cfg.GoRoot))
	if err != nil {
		return nil, err
	}
	for _, m := range missing {
		image, why, _ := strings.Cut(m, ": ")
		say(Event{Image: "docker.io/" + image, Missing: why})
	}
	standIns, err := assign(list, cfg.As, say)
	if err != nil {
		return nil, err
	}
	scratch, err := os.MkdirTemp("", "slipway-bases-*")
	if err != nil {
		return nil, fmt.Errorf("base images: %w", err)
	}
	defer os.RemoveAll(scratch) // What it cannot remove the system's temporary-file upkeep does.
	b := &builder{cfg: cfg, scratch: scratch}
	var records []Record
	for i, r := range list {
		record := Record{Name: r.name(), Homemade: true, Description: r.describe()}
		places := append(r.places(), standIns[i]...)
		for _, p := range places[1:] {
			record.Aliases = append(record.Aliases, p.String())
		}
		begin := time.Now()
		say(Event{Image: record.Name})
		digest, size, err := b.provide(ctx, r, places)
		if err != nil {
			return nil, fmt.Errorf("base image %s: %w", record.Name, err)
		}
		record.Digest = digest.String()
		say(Event{Image: record.Name, Done: true, Reused: size == 0, Bytes: size, Took: time.Since(begin)})
		for _, p := range standIns[i] {
			say(Event{Image: p.String(), Is: record.Name})
		}
		records = append(records, record)
	}
	return records, nil
}

// WriteRecords keeps the list where ReadRecords finds it, for those who show where an image came from.
func WriteRecords(file string, records []Record) error {
	content, err := json.MarshalIndent(records, "", "  ")
	if err != nil {
		return err
	}
	next := file + ".next"
	if err := os.WriteFile(next, append(content, '\n'), 0o644); err != nil {
		return fmt.Errorf("list of base images: %w", err)
	}
	return os.Rename(next, file)
}

// ReadRecords reads what WriteRecords wrote; no file is no records.
func ReadRecords(file string) ([]Record, error) {
	content, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list of base images: %w", err)
	}
	var records []Record
	if err := json.Unmarshal(content, &records); err != nil {
		return nil, fmt.Errorf("list of base images %s: %w", file, err)
	}
	return records, nil
}

// find looks for the usual places of what images are made from. What is not there stays empty.
func find(ctx context.Context, goroot string) sources {
	s := sources{goroot: goroot}
	for _, p := range []string{"/bin/busybox", "/usr/bin/busybox"} {
		if libs, err := libraries(ctx, p); err == nil && len(libs) == 0 {
			s.busybox = p
			break
		}
	}
	for _, p := range []string{caPath, "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"} {
		if _, err := os.Stat(p); err == nil {
			s.caBundle = p
			break
		}
	}
	if s.goroot == "" {
		if out, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output(); err == nil {
			s.goroot = strings.TrimSpace(string(out))
		}
	}
	if p, err := exec.LookPath("node"); err == nil {
		if s.node, err = filepath.EvalSymlinks(p); err != nil {
			s.node = ""
		}
		for _, lib := range []string{"../lib/node_modules/npm", "../share/nodejs/npm"} {
			dir := filepath.Join(filepath.Dir(s.node), lib)
			if _, err := os.Stat(filepath.Join(dir, "bin", "npm-cli.js")); err == nil {
				s.npm = dir
				break
			}
		}
	}
	s.python, s.pythonLibrary, s.pythonVersion = findPython(ctx)
	s.redis = findRedis()
	if p, err := exec.LookPath("git"); err == nil {
		s.git = p
	}
	return s
}

func (r recipe) name() string { return r.places()[0].String() }

func (r recipe) describe() string {
	return "home-made by slipway images bootstrap, not the official image: " + r.description
}

// key is a hash of all that decides the image's content and configuration.
func (r recipe) key() string {
	parts := append([]string{r.repository, r.description, r.workdir, runtime.GOARCH}, r.inputs...)
	parts = append(append(parts, r.env...), r.cmd...)
	if r.user != "" {
		parts = append(parts, r.user)
	}
	return fmt.Sprintf("%x", sha256.Sum256([]byte(strings.Join(parts, "\x00"))))
}

type builder struct {
	cfg     Config
	scratch string
	base    *layer // the layer that every image begins with, once it was packed
}

func (b *builder) options(ctx context.Context) []remote.Option {
	return []remote.Option{
		remote.WithContext(ctx),
		remote.WithAuth(&authn.Basic{Username: b.cfg.User, Password: b.cfg.Password}),
	}
}

func (b *builder) reference(p place) (name.Tag, error) {
	return name.NewTag(fmt.Sprintf("%s/%s/%s:%s", b.cfg.Registry, p.prefix(b.cfg.Prefix), p.repository, p.tag))
}

// provide returns the image's digest, and the size of what was pushed: 0 when the registry had it.
func (b *builder) provide(ctx context.Context, r recipe, places []place) (v1.Hash, int64, error) {
	have, err := b.lookup(ctx, r)
	if err != nil {
		return v1.Hash{}, 0, err
	}
	img, size := have, int64(0)
	if have == nil {
		if img, size, err = b.build(ctx, r); err != nil {
			return v1.Hash{}, 0, err
		}
	}
	for i, p := range places {
		ref, err := b.reference(p)
		if err != nil {
			return v1.Hash{}, 0, err
		}
		if i == 0 && have == nil || p.repository != r.repository {
			err = remote.Write(ref, img, b.options(ctx)...)
		} else {
			err = remote.Tag(ref, img, b.options(ctx)...)
		}
		if err != nil {
			return v1.Hash{}, 0, fmt.Errorf("push to %s: %w", b.cfg.Registry, err)
		}
	}
	digest, err := img.Digest()
	return digest, size, err
}

// lookup returns the image that the registry has from the same inputs, or nil.
func (b *builder) lookup(ctx context.Context, r recipe) (v1.Image, error) {
	ref, err := b.reference(r.places()[0])
	if err != nil {
		return nil, err
	}
	img, err := remote.Image(ref, b.options(ctx)...)
	var refused *transport.Error
	if errors.As(err, &refused) && refused.StatusCode == http.StatusNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", b.cfg.Registry, err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("read its configuration: %w", err)
	}
	if config.Config.Labels[LabelInputs] != r.key() {
		return nil, nil
	}
	return img, nil
}

func (b *builder) build(ctx context.Context, r recipe) (v1.Image, int64, error) {
	img := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	img = mutate.ConfigMediaType(img, types.OCIConfigJSON)
	var size int64
	for i, fill := range r.fill {
		l, err := b.layer(ctx, i == 0 && r.host == "", fill)
		if err != nil {
			return nil, 0, err
		}
		size += l.size
		img, err = mutate.Append(img, mutate.Addendum{
			Layer:   l,
			History: v1.History{CreatedBy: "slipway images bootstrap", Created: v1.Time{Time: epoch()}},
		})
		if err != nil {
			return nil, 0, err
		}
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, 0, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", runtime.GOARCH
	config.Created = v1.Time{Time: epoch()}
	config.Config.User = r.user
	config.Config.Env, config.Config.Cmd, config.Config.WorkingDir = r.env, r.cmd, r.workdir
	config.Config.Labels = map[string]string{LabelHomemade: "true", LabelInputs: r.key(), LabelDescription: r.describe()}
	img, err = mutate.ConfigFile(img, config)
	return img, size, err
}

// layer packs what fill collects. The first layer is the same in every image of docker.io and is packed once.
func (b *builder) layer(ctx context.Context, first bool, fill func(context.Context, *tree) error) (*layer, error) {
	if first && b.base != nil {
		return b.base, nil
	}
	t := newTree()
	if err := fill(ctx, t); err != nil {
		return nil, err
	}
	l, err := t.write(ctx, b.scratch)
	if first {
		b.base = l
	}
	return l, err
}
