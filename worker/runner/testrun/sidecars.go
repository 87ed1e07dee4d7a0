package testrun

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/pb"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/slipway-build/slipway/worker/runner"
	"github.com/slipway-build/slipway/worker/runner/buildkit"
)

// A test with sidecars and the sidecars are processes of one container of BuildKit's: that is
// what shares a network there. The container has a network of its own with nothing in
// it but localhost, so that tests side by side may use the same ports, and a test cannot
// reach what happens to run on the machine. The root of a sidecar is its image, below
// sidecarRoots; it sees no /proc, because nothing in a container may mount one.
//
// When a process of a container ends with an exit code, BuildKit kills the others. So
// those beside the test end without one, and print theirs.

const (
	// sidecarRoots is where the images of sidecars are in the container of the test.
	sidecarRoots = "/.slipway/sidecars"
	// holder is the container's first process, whose end would be that of all others.
	holder = "exec sleep 2147483647"
	// readyEvery is the pause between two questions whether a sidecar can be used.
	readyEvery = 200 * time.Millisecond
	// readyWithin is how long one may take until it can be used.
	readyWithin = 2 * time.Minute
)

// exitMark is the last line of what a process beside the test prints; the code follows.
const exitMark = "slipway: exit code "

// prepare makes what an image's root lacks outside a container of its own, and goes on there.
// Whoever asks whether a sidecar can be used does it too, while the sidecar reads it.
const prepare = `root=$1 dir=$2; shift 2
(PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
command -v chroot >/dev/null || { echo "the stage of the test has no program chroot, which sidecars need" >&2; exit 127; }
mkdir -p "$root/dev" "$root/etc" "$root/tmp"
device() { [ -c "$root/dev/$1" ] || mknod -m 666 "$root/dev/$1" c "$2" "$3" 2>/dev/null || [ -c "$root/dev/$1" ] || echo "/dev/$1 could not be made" >&2; }
device null 1 3; device zero 1 5; device full 1 7; device random 1 8; device urandom 1 9
cat /etc/hosts >"$root/etc/hosts.$$" && mv -f "$root/etc/hosts.$$" "$root/etc/hosts"
[ "$dir" = / ] && exec chroot "$root" "$@"
exec chroot "$root" /bin/sh -c 'cd "$1" && shift && exec "$@"' sh "$dir" "$@")
echo "` + exitMark + `$?"`

// sidecar is one that is started beside the test.
type sidecar struct {
	runner.Sidecar

	root   gateway.Reference
	config ocispecs.ImageConfig
	step   *buildkit.Running
	ended  chan struct{} // closed when its process has ended
}

// pullSidecars finds the images.
func (a *attempt) pullSidecars(ctx context.Context, c gateway.Client) ([]*sidecar, error) {
	out := make([]*sidecar, 0, len(a.work.Sidecars))
	for _, s := range a.work.Sidecars {
		pulled, err := a.pull(ctx, c, s)
		if err != nil {
			return nil, fmt.Errorf("sidecar %s, image %s: %w", s.Name, s.Image, err)
		}
		out = append(out, pulled)
	}
	return out, nil
}

func (a *attempt) pull(ctx context.Context, c gateway.Client, s runner.Sidecar) (*sidecar, error) {
	named, err := reference.ParseNormalizedNamed(s.Image)
	if err != nil {
		return nil, err
	}
	ref := reference.TagNameOnly(named).String()
	platform := platforms.DefaultSpec()
	if a.work.Build.Platform != "" {
		if platform, err = platforms.Parse(a.work.Build.Platform); err != nil {
			return nil, err
		}
	}
	_, digest, content, err := c.ResolveImageConfig(ctx, ref, sourceresolver.Opt{
		LogName:  "[sidecar " + s.Name + "] load metadata for " + ref,
		ImageOpt: &sourceresolver.ResolveImageOpt{Platform: &platform, ResolveMode: "default"},
	})
	if err != nil {
		return nil, err
	}
	var image ocispecs.Image
	if err := json.Unmarshal(content, &image); err != nil {
		return nil, fmt.Errorf("read its configuration: %w", err)
	}
	pinned, err := reference.WithDigest(reference.TrimNamed(named), digest)
	if err != nil {
		return nil, err
	}
	def, err := llb.Image(pinned.String(), llb.Platform(platform), llb.WithCustomName("[sidecar "+s.Name+"] "+ref)).Marshal(ctx)
	if err != nil {
		return nil, err
	}
	res, err := c.Solve(ctx, gateway.SolveRequest{Definition: def.ToPB(), Evaluate: true})
	if err != nil {
		return nil, err
	}
	root, err := res.SingleRef()
	if err != nil {
		return nil, err
	}
	return &sidecar{Sidecar: s, root: root, config: image.Config}, nil
}

// container makes that of the test, with the roots of its sidecars.
func (a *attempt) container(ctx context.Context, c gateway.Client, stage gateway.Reference, sidecars []*sidecar, more ...gateway.Mount) (gateway.Container, error) {
	req := gateway.NewContainerRequest{Mounts: []gateway.Mount{{Dest: "/", MountType: pb.MountType_BIND, Ref: stage}}}
	req.Mounts = append(append(req.Mounts, a.used...), more...)
	if len(sidecars) > 0 {
		req.NetMode = pb.NetMode_NONE
	}
	for _, s := range sidecars {
		req.Mounts = append(req.Mounts, gateway.Mount{Dest: s.path(), MountType: pb.MountType_BIND, Ref: s.root})
		req.ExtraHosts = append(req.ExtraHosts, &pb.HostIP{Host: s.Name, IP: netip.AddrFrom4([4]byte{127, 0, 0, 1}).String()})
	}
	ctr, err := c.NewContainer(ctx, req)
	if err != nil {
		return nil, fmt.Errorf("make a container of stage %q: %w", a.work.Build.Target, err)
	}
	return ctr, nil
}

func (s *sidecar) path() string { return path.Join(sidecarRoots, s.Name) }

// in is a request that runs words in the image of the sidecar.
func (s *sidecar) in(words []string) gateway.StartRequest {
	dir := s.config.WorkingDir
	if dir == "" {
		dir = "/"
	}
	env := slices.Clone(s.config.Env)
	for _, k := range slices.Sorted(maps.Keys(s.Env)) {
		env = append(env, k+"="+s.Env[k])
	}
	req := gateway.StartRequest{
		Args: append([]string{"/bin/sh", "-c", prepare, "sidecar", s.path(), dir}, words...), Env: env, User: "0:0", Cwd: "/",
	}
	for _, k := range slices.Sorted(maps.Keys(s.Secret)) {
		req.SecretEnv = append(req.SecretEnv, &pb.SecretEnv{ID: buildkit.SidecarSecretEnv(s.Name, k), Name: k})
	}
	return req
}

// words are what the sidecar runs.
func (s *sidecar) words() []string {
	if s.Run != "" {
		return []string{"/bin/sh", "-c", s.Run}
	}
	return append(slices.Clone(s.config.Entrypoint), s.config.Cmd...)
}

// start starts the sidecars one after the other, each when the one before can be used. The
// sidecars stop with the container.
func (a *attempt) startSidecars(ctx context.Context, ctr gateway.Container, sidecars []*sidecar) error {
	if len(sidecars) == 0 {
		return nil
	}
	if _, err := ctr.Start(ctx, gateway.StartRequest{Args: []string{"/bin/sh", "-c", holder}, Env: []string{"PATH=/usr/bin:/bin"}, User: "0:0", Cwd: "/"}); err != nil {
		return fmt.Errorf("begin the container of the test and its sidecars: %w", err)
	}
	for _, s := range sidecars {
		words := s.words()
		if len(words) == 0 {
			return &sidecarError{fmt.Sprintf("sidecar %s: image %s does not say what to run; write run:", s.Name, s.Image)}
		}
		s.step, s.ended = a.watch.Begin(fmt.Sprintf("[sidecar %s] %s", s.Name, strings.Join(words, " ")), "exec"), make(chan struct{})
		req := s.in(words)
		req.Stdout, req.Stderr = s.step, s.step
		p, err := ctr.Start(ctx, req)
		if err != nil {
			s.step.End(err.Error())
			return fmt.Errorf("start sidecar %s: %w", s.Name, err)
		}
		go func() { _ = p.Wait(); close(s.ended) }()
		if err := a.ready(ctx, ctr, s); err != nil {
			return err
		}
	}
	return nil
}

// sidecarError is a sidecar that does not work: the test's own business, not the farm's.
type sidecarError struct{ message string }

func (e *sidecarError) Error() string { return e.message }

// answer keeps what a question printed.
type answer struct{ bytes.Buffer }

// Close does nothing: a process closes its two outputs before it has ended.
func (*answer) Close() error { return nil }

// ready waits until the sidecar can be used.
func (a *attempt) ready(ctx context.Context, ctr gateway.Container, s *sidecar) error {
	ask := gateway.StartRequest{Args: []string{"/bin/sh", "-c", listening(s.config) + `; echo "` + exitMark + `$?"`}, User: "0:0", Cwd: "/", Env: []string{"PATH=/usr/bin:/bin:/usr/local/bin"}}
	if s.Ready != "" {
		ask = s.in([]string{"/bin/sh", "-c", s.Ready})
	}
	tick, late := time.NewTicker(readyEvery), time.NewTimer(readyWithin)
	defer tick.Stop()
	defer late.Stop()
	for {
		var said answer
		ask.Stdout, ask.Stderr = &said, &said
		p, err := ctr.Start(ctx, ask)
		if err == nil {
			err = p.Wait()
		}
		if err != nil {
			return fmt.Errorf("ask whether sidecar %s can be used: %w", s.Name, err)
		}
		output, code := cutExit(said.Bytes())
		if code == "0" {
			return nil
		}
		select {
		case <-s.ended:
			output, code := cutExit(s.step.End("ended before it could be used"))
			return &sidecarError{fmt.Sprintf("sidecar %s ended with exit code %s before it could be used%s", s.Name, code, after(buildkit.Tail(output)))}
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-late.C:
			return &sidecarError{fmt.Sprintf("sidecar %s could not be used after %s: %s%s", s.Name, readyWithin, s.asked(), after(buildkit.Tail(output)))}
		case <-tick.C:
		}
	}
}

// cutExit takes the exit code off the end of what a process beside the test printed.
func cutExit(printed []byte) (output []byte, code string) {
	output, last, found := bytes.Cut(printed, []byte(exitMark))
	if !found {
		return printed, "unknown"
	}
	return output, strings.TrimSpace(string(last))
}

// asked says what ready waits for.
func (s *sidecar) asked() string {
	if s.Ready != "" {
		return "`" + s.Ready + "` did not succeed"
	}
	return "not all ports that its image exposes are open; write ready: with a command that succeeds when it can be used"
}

// listening is a command that succeeds when somebody listens at each port of the image.
func listening(config ocispecs.ImageConfig) string {
	var checks []string
	for _, exposed := range slices.Sorted(maps.Keys(config.ExposedPorts)) {
		number, protocol, _ := strings.Cut(exposed, "/")
		var port uint16
		if _, err := fmt.Sscan(number, &port); err != nil || protocol == "udp" {
			continue
		}
		checks = append(checks, fmt.Sprintf(`grep -q ": [0-9A-F]*:%04X [0-9A-F]*:0000 0A" /proc/net/tcp /proc/net/tcp6`, port))
	}
	return strings.Join(append(checks, "true"), " && ")
}

// stopSidecars ends their steps, after the container has been released.
func stopSidecars(sidecars []*sidecar) {
	for _, s := range sidecars {
		if s.ended == nil {
			continue
		}
		<-s.ended
		s.step.End("")
	}
}
