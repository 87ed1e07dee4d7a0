// Package server wires the coordinator: constructors in the order of what depends on
// what. It decides nothing.
package server

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/slipway-build/slipway/coordinator/api"
	"github.com/slipway-build/slipway/coordinator/artifact"
	"github.com/slipway-build/slipway/coordinator/artifactstore"
	"github.com/slipway-build/slipway/coordinator/bases"
	"github.com/slipway-build/slipway/coordinator/check"
	"github.com/slipway-build/slipway/coordinator/config"
	"github.com/slipway-build/slipway/coordinator/cordon"
	"github.com/slipway-build/slipway/coordinator/dispatch"
	"github.com/slipway-build/slipway/coordinator/drift"
	"github.com/slipway-build/slipway/coordinator/home"
	"github.com/slipway-build/slipway/coordinator/journal"
	"github.com/slipway-build/slipway/coordinator/logarchive"
	"github.com/slipway-build/slipway/coordinator/logstore"
	"github.com/slipway-build/slipway/coordinator/partition"
	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/pool"
	"github.com/slipway-build/slipway/coordinator/project"
	"github.com/slipway-build/slipway/coordinator/readmodel"
	"github.com/slipway-build/slipway/coordinator/run"
	"github.com/slipway-build/slipway/coordinator/secret"
	"github.com/slipway-build/slipway/coordinator/session"
	"github.com/slipway-build/slipway/coordinator/source"
	"github.com/slipway-build/slipway/coordinator/submit"
	"github.com/slipway-build/slipway/coordinator/trace"
	"github.com/slipway-build/slipway/coordinator/trust"
	"github.com/slipway-build/slipway/coordinator/watch"
	"github.com/slipway-build/slipway/coordinator/web"
	"github.com/slipway-build/slipway/coordinator/webhook"
	"github.com/slipway-build/slipway/internal/gitcmd"
	"github.com/slipway-build/slipway/internal/queue"
	"github.com/slipway-build/slipway/internal/rpc"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// runner is the version of what builds, tests and renders: part of every digest. It
// changes when equal inputs would give another result.
const runner = "1"

// Options are what a coordinator is given besides its configuration.
type Options struct {
	Config  config.Config
	Version string
	// Env is what git may see of the environment.
	Env []string
	Log *slog.Logger
	// LookupEnv finds the secrets that targets.yaml keeps in the environment. May be nil.
	LookupEnv func(name string) (string, bool)
	// Ready is called once requests are answered, with the address of the API. May be nil.
	Ready func(address string)
}

// Run serves until the context ends.
func Run(ctx context.Context, o Options) error {
	err := start(ctx, o)
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil // told to stop while it started
	}
	return err
}

func start(ctx context.Context, o Options) error {
	cfg, log := o.Config, o.Log
	tokens, err := cfg.Credentials()
	if err != nil {
		return err
	}
	var self *replica // before anybody is answered
	grpcServer, listener, err := listen(ctx, cfg, tokens, func(secret string) bool { return self.knows(secret) }, log)
	if err != nil {
		return err
	}
	defer listener.Close()
	js, hangUp, err := queue.Connect(ctx, cfg.NATS, "coordinator "+cfg.Name, log)
	if err != nil {
		return err
	}
	defer hangUp()
	if self, err = newReplica(ctx, cfg, js, listener.Addr(), log); err != nil {
		return err
	}
	defer self.unlock()
	blobs, artifacts, logs, watch, err := stores(ctx, cfg, js, log)
	if err != nil {
		return err
	}
	defer logs.Close()
	mirror, does, err := newEffects(cfg, o.Version, o.Env, blobs)
	if err != nil {
		return err
	}
	defer mirror.Close()
	observe, err := newObserver(ctx, cfg, o.Version, func() (check.Memory, error) { return check.Open(ctx, js, cfg.Replicas) }, log)
	if err != nil {
		return err
	}
	defer observe.close()
	model, err := newModel(cfg, log)
	if err != nil {
		return err
	}
	hub := newHub(observe, model)
	var sessions *session.Server
	dispatcher := newDispatcher(js, cfg.Replicas, func(instance, capability, token string) bool { return sessions.Offer(instance, capability, token) }, log)
	parts, err := newPartitions(ctx, cfg, js, partition.Config{
		Plans: blobs.Plan, Upkeep: newUpkeep(cfg, blobs, newArchiver(blobs, logs, observe, log)), Dispatch: dispatcher, Effects: does, Listener: hub, Inherited: observe.inherited, Trust: watch, Log: log, Yield: runtime.Gosched,
	})
	if err != nil {
		return err
	}
	var side sync.WaitGroup
	defer side.Wait()
	peers := newPeers(cfg, self, parts)
	defer peers.Close()
	homes := &home.Homes{Partitions: parts, Peers: peers, Plans: blobs.Plan, TraceID: trace.ID}
	submitter, err := newSubmitter(ctx, cfg, js, does, artifacts, homes, log)
	if err != nil {
		return err
	}
	shares := pool.New(pool.Config{Self: self.keeper.Self().ID, There: self.there, Peers: peers, Partitions: parts, Dispatch: dispatcher, Log: log, Now: time.Now})
	sessions = session.New(session.Config{
		Partitions: parts, Peers: peers, Presence: dispatcher, Cordons: watch, Logs: logs, Hub: hub, TTL: cfg.LeaseTTL, Log: log, Traceparent: trace.Traceparent,
		Secrets: newSecrets(o, submitter), Artifacts: session.ArtifactLimits{Each: int64(cfg.Artifacts.MaxMiB) << 20, All: int64(cfg.Artifacts.TaskMiB) << 20}, Packed: self.unpack,
		Puller: func(capability string) *queue.Puller { return queue.NewPuller(js, capability) },
	})
	keeper := drift.New(drift.Config{Partitions: parts, Targets: submitter.Targets, Begin: submitter.Back, Log: log, Now: time.Now}, observe.metrics)
	services := newServices(grpcServer, api.Config{
		Partitions: parts, Peers: peers, Homes: homes, Hub: hub, Queue: dispatcher, Logs: logs, Blobs: blobs, Artifacts: artifacts, Mirror: mirror, Pool: shares, Model: model, Go: side.Go, Log: log,
		Submitter: submitter, Sessions: sessions, Cordons: watch, Noticed: keeper.Notice, Proposals: does.pulls, Now: time.Now,
	})
	if observe.pages, err = web.New(web.Config{Runs: services.Runs, Logs: services.Logs, Tokens: tokens, Secure: cfg.TLS.Cert != "", Log: log, Now: time.Now}); err != nil {
		return err
	}
	observe.hooks, observe.polls = newHooks(cfg, submitter, observe.checks, log), newPolls(cfg, js, mirror, parts, services.Runs, log).run
	return serve(ctx, o, tokens, parts, self, dispatcher, sessions, model, observe, listener.Addr().String(),
		func(ctx context.Context) error { return grpcServer.Run(ctx, listener) }, sessions.Steer, shares.Run, artifacts.Run, keeper.Run,
		func(ctx context.Context) error { return watch.Run(ctx, func() []string { return takers(sessions) }) },
		func(ctx context.Context) error { return observe.watchLogs(ctx, logs) })
}

func newServices(s *rpc.Server, c api.Config) api.Services {
	services := api.New(c)
	services.Register(s.GRPC())
	return services
}

func newDispatcher(js jetstream.JetStream, replicas int, offer func(instance, capability, token string) bool, log *slog.Logger) *dispatch.Dispatcher {
	return dispatch.New(dispatch.Config{
		Open: func(ctx context.Context) (dispatch.Queue, error) { return queue.Open(ctx, js, replicas) }, Offer: offer, Shared: true, Log: log, Now: time.Now,
	})
}

// takers are the names of workers that take tests now.
func takers(sessions *session.Server) []string {
	var out []string
	for _, w := range sessions.Workers() {
		if w.Slots[plan.CapabilityBuild] > 0 && !w.Aside() {
			out = append(out, w.Name)
		}
	}
	return out
}

// serve runs the parts until the context ends or one of them cannot go on.
func serve(ctx context.Context, o Options, tokens *rpc.Tokens, parts *partition.Set, self *replica, d *dispatch.Dispatcher, sessions *session.Server, model *readmodel.Model, observe *observer, address string, more ...func(context.Context) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return self.run(ctx, parts, model) })
	g.Go(func() error { return d.Run(ctx) })
	if model != nil {
		g.Go(func() error {
			return model.Run(ctx, func(ctx context.Context, limit int) ([]*run.Run, error) { return parts.List(ctx, "", limit) })
		})
	}
	g.Go(func() error { return observe.checks.Run(ctx, journalled{parts}) })
	g.Go(func() error { return observe.serve(ctx, o.Config, tokens, d, sessions) })
	for _, f := range more {
		g.Go(func() error { return f(ctx) })
	}
	if o.Ready != nil {
		g.Go(func() error { whenServed(ctx, parts, self, func() { o.Ready(address) }); return nil })
	}
	return g.Wait()
}

func stores(ctx context.Context, cfg config.Config, js jetstream.JetStream, log *slog.Logger) (*artifact.Store, *artifactstore.Store, *logstore.Store, *trust.Watch, error) {
	blobs, err := queue.Asked(ctx, log, func(ctx context.Context) (*artifact.Store, error) { return artifact.Open(ctx, js, cfg.Replicas) })
	if err != nil {
		return nil, nil, nil, nil, err
	}
	artifacts, err := newArtifacts(ctx, cfg, js, log)
	if err != nil {
		return nil, nil, nil, nil, err
	}
	cordons, err := queue.Asked(ctx, log, func(ctx context.Context) (*cordon.Store, error) { return cordon.Open(ctx, js, cfg.Replicas, log) })
	if err != nil {
		return nil, nil, nil, nil, err
	}
	logs, err := queue.Asked(ctx, log, func(ctx context.Context) (*logstore.Store, error) {
		return logstore.Open(ctx, js, cfg.Replicas, int64(cfg.Logs.MaxGiB)<<30, log)
	})
	return blobs, artifacts, logs, trust.New(cordons, log, time.Now), err
}

// packed is how much larger than its files an artifact may be, which are packed with their names.
const packed = 16 << 20

func newArtifacts(ctx context.Context, cfg config.Config, js jetstream.JetStream, log *slog.Logger) (*artifactstore.Store, error) {
	return queue.Asked(ctx, log, func(ctx context.Context) (*artifactstore.Store, error) {
		return artifactstore.Open(ctx, artifactstore.Config{
			JS: js, Replicas: cfg.Replicas, Keep: cfg.Artifacts.Keep, MaxBytes: int64(cfg.Artifacts.MaxGiB) << 30, MaxSize: int64(cfg.Artifacts.MaxMiB)<<20 + packed, Log: log, Now: time.Now,
		})
	})
}

func newPartitions(ctx context.Context, cfg config.Config, js jetstream.JetStream, c partition.Config) (*partition.Set, error) {
	c.Replicas, c.JS, c.TTL, c.Now, c.Suffix = cfg.Replicas, js, cfg.LeaseTTL, time.Now, suffix
	c.Journal = func(ctx context.Context, number int) (partition.Journal, error) {
		return journal.Open(ctx, js, journal.Config{
			Partition: number, Owner: cfg.Name, Replicas: cfg.Replicas, Snapshots: c.Upkeep.Blobs, Log: c.Log, Now: time.Now,
		})
	}
	return queue.Asked(ctx, c.Log, func(ctx context.Context) (*partition.Set, error) { return partition.NewSet(ctx, cfg.Partitions, c) })
}

func newUpkeep(cfg config.Config, blobs *artifact.Store, logs *logarchive.Archiver) partition.Upkeep {
	keep := cfg.Retention
	return partition.Upkeep{
		Blobs: blobs, Records: uint64(cfg.Journal.SnapshotRecords), Bytes: int64(cfg.Journal.SnapshotMiB) << 20,
		Keep: project.Retention{Runs: keep.Runs, PerProject: keep.RunsPerProject, Archives: keep.Archives, Logs: keep.Logs, Results: keep.Results, Keys: keep.Keys},
		Logs: logs, LogsAfter: cfg.Logs.ArchiveAfter,
	}
}

// newHub tells the observer, and the read model where there is one, of each change.
func newHub(observe *observer, model *readmodel.Model) *watch.Hub[[]*pb.ProgressStep] {
	return watch.New[[]*pb.ProgressStep](func(r *run.Run, tasks []*run.Task) {
		observe.changed(r, tasks)
		if model != nil {
			model.Changed(r)
		}
	})
}

func listen(ctx context.Context, cfg config.Config, tokens *rpc.Tokens, peers func(string) bool, log *slog.Logger) (*rpc.Server, net.Listener, error) {
	o := rpc.ServerOptions{
		Tokens: tokens, Peers: peers, Log: log,
		Files: protocol(),
	}
	var err error
	if o.TLS, err = cfg.TLS.Load(); err != nil {
		return nil, nil, fmt.Errorf("tls: %w", err)
	}
	s, err := rpc.NewServer(o)
	if err != nil {
		return nil, nil, err
	}
	l, err := s.Listen(ctx, cfg.Listen)
	return s, l, err
}

// protocol is all of it: of a file that is forgotten nobody could call the services.
func protocol() []protoreflect.FileDescriptor {
	var out []protoreflect.FileDescriptor
	protoregistry.GlobalFiles.RangeFilesByPackage(pb.File_slipway_v1_run_proto.Package(), func(f protoreflect.FileDescriptor) bool {
		out = append(out, f)
		return true
	})
	return out
}

func newSubmitter(ctx context.Context, cfg config.Config, js jetstream.JetStream, does effects, artifacts *artifactstore.Store, homes *home.Homes, log *slog.Logger) (*submit.Submitter, error) {
	tags, err := newBases(ctx, cfg, js, log)
	return submit.New(submit.Config{
		Mirror: does.mirror, Home: homes.Of, Blobs: does.blobs, Artifacts: artifacts, Images: submit.NewRegistry(keychain(cfg.RegistryAuth)), Bases: tags, Advisories: advisoriesOf(cfg.Advisories, does.blobs, log), TargetsFile: cfg.Targets,
		Key: does.signer.id(), PublicKey: does.signer.public(), Registry: cfg.Registry, Platform: cfg.Platform, Runner: runner,
	}), err
}

// newBases asks registries as BuildKit does: the mirrors first. nil: nothing is looked up.
func newBases(ctx context.Context, cfg config.Config, js jetstream.JetStream, log *slog.Logger) (submit.Bases, error) {
	if !cfg.BaseImages.Resolve {
		return nil, nil //nolint:nilnil // that is an answer
	}
	memory, err := queue.Asked(ctx, log, func(ctx context.Context) (*bases.Memory, error) { return bases.OpenMemory(ctx, js, cfg.Replicas) })
	if err != nil {
		return nil, err
	}
	mirrors := cfg.BaseImages.Mirrors()
	own, _, _ := strings.Cut(cfg.Registry, "/")
	trusted := []string{own}
	for _, list := range mirrors {
		for _, at := range list {
			host, _, _ := strings.Cut(at, "/")
			trusted = append(trusted, host)
		}
	}
	return bases.New(bases.Config{Mirrors: mirrors, Keychain: keychain(cfg.RegistryAuth), Memory: memory, Trusted: trusted, Fresh: cfg.BaseImages.Fresh, Now: time.Now, Log: log}), nil
}

func newHooks(cfg config.Config, submitter *submit.Submitter, checks *check.Teller, log *slog.Logger) api.WebhookConfig {
	c := api.WebhookConfig{Submit: submitter.Submit, Refused: checks.Refused, Log: log, Now: time.Now}
	for _, w := range cfg.Webhooks {
		c.Hooks = append(c.Hooks, api.Hook{Name: w.Name, Secret: w.Secret, Kind: webhook.Kind(w.Kind), Repositories: w.Repositories, Forks: w.Forks})
	}
	return c
}

func newSecrets(o Options, submitter *submit.Submitter) *secret.Store {
	return secret.New(secret.Config{
		Targets: submitter.Targets, LookupEnv: o.LookupEnv,
		Kubernetes: secret.Kubernetes{Kubeconfig: o.Config.Kubernetes.Kubeconfig, Context: o.Config.Kubernetes.Context},
	})
}

// newModel is nil without a Redis: then lists come from the partitions.
func newModel(cfg config.Config, log *slog.Logger) (*readmodel.Model, error) {
	if cfg.Redis.Address == "" {
		return nil, nil //nolint:nilnil // it is optional
	}
	c := readmodel.Config{Address: cfg.Redis.Address, Log: log, Now: time.Now}
	if f := cfg.Redis.PasswordFile; f != "" {
		data, err := os.ReadFile(f)
		if err != nil {
			return nil, fmt.Errorf("read redis.password_file: %w", err)
		}
		c.Password = strings.TrimSpace(string(data))
	}
	key, err := readmodel.OpenKey(filepath.Join(cfg.State, "readmodel.key"))
	if err != nil {
		return nil, err
	}
	c.Key = key
	return readmodel.New(c), nil
}

func newMirror(cfg config.Config, env []string) (*source.Mirror, error) {
	git, err := gitcmd.New(gitcmd.Options{Home: filepath.Join(cfg.State, "git"), Env: env})
	if err != nil {
		return nil, err
	}
	return source.New(source.Config{
		Dir: filepath.Join(cfg.State, "source"), LocalPaths: cfg.LocalPaths, LFSKeep: int64(cfg.LFS) << 20, Netrc: netrc(env),
	}, git)
}

// netrc is where git looks for the names and tokens of hosts.
func netrc(env []string) string {
	for _, kv := range env {
		if home, ok := strings.CutPrefix(kv, "HOME="); ok {
			return filepath.Join(home, ".netrc")
		}
	}
	return ""
}

// suffix makes run ids unique over journals that begin anew.
func suffix() string { return strings.ToLower(rand.Text()[:4]) }

func keychain(file string) authn.Keychain {
	if file == "" {
		return authn.DefaultKeychain
	}
	return dockerConfig(file)
}
