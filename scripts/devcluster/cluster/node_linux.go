package cluster

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/slipway-build/slipway/scripts/devcluster/address"
	"github.com/slipway-build/slipway/scripts/devcluster/clusterdir"
	"github.com/slipway-build/slipway/scripts/devcluster/doctor"
	"github.com/slipway-build/slipway/scripts/devcluster/network"
	"github.com/slipway-build/slipway/scripts/devcluster/node"
)

// endPatience is how long the kernel may take to end the processes of a killed node.
const endPatience = 20 * time.Second

// InitCommand is the hidden command that the init process of a node is started with.
const InitCommand = "node-init"

// record is what node.json holds from before the first thing is made until after the last is removed: all that is needed to
// clean up after a killed devcluster.
type record struct {
	Index int    `json:"index"`
	Owner string `json:"owner"`
	// PID and Started (clock ticks since boot) tell the init process from a later one with the same pid.
	PID     int    `json:"pid,omitempty"`
	Started uint64 `json:"started,omitempty"`
}

func upNode(ctx context.Context, dir clusterdir.Dir, o Options) error {
	began := time.Now()
	plan, err := address.ForIndex(o.Node.Index)
	if err != nil {
		return err
	}
	if missing := doctor.Missing(doctor.Check(doctor.Options{Bin: o.Node.Bin})); len(missing) > 0 {
		return fmt.Errorf("this machine cannot run a real node:\n%s", strings.Join(missing, "\n"))
	}
	if err := cleanNode(ctx, dir, o.Progress); err != nil {
		return fmt.Errorf("clean up after an earlier cluster: %w", err)
	}
	index, err := network.Hold(plan, dir.Root)
	if err != nil {
		return err
	}
	defer index.Close() // the end of the process would do
	if err := dir.MakeSockets(); err != nil {
		return err
	}
	defer os.RemoveAll(dir.Sockets()) // a leftover is removed by the next start
	rec := record{Index: o.Node.Index, Owner: o.Name}
	if err := rec.write(dir); err != nil {
		return err
	}
	err = runNode(ctx, dir, plan, o, rec, index, began)
	// The cluster's own end must not keep it from being cleaned up.
	return errors.Join(err, tearDown(context.WithoutCancel(ctx), dir, rec, plan, o.Progress))
}

func runNode(ctx context.Context, dir clusterdir.Dir, plan address.Plan, o Options, rec record, index *os.File, began time.Time) error {
	if err := network.Up(plan, o.Name); err != nil {
		return err
	}
	o.Progress("network %s: host %s, node %s", plan.Netns, plan.HostIP, plan.NodeIP)
	if err := node.MakeCgroups(plan.Cgroup); err != nil {
		return err
	}
	if err := node.MakeMountPoints(); err != nil {
		return err
	}
	spec, err := nodeSpec(dir, plan, o)
	if err != nil {
		return err
	}
	file, err := spec.Write(dir)
	if err != nil {
		return err
	}
	p, err := startInit(plan, o, file, index)
	if err != nil {
		return err
	}
	rec.PID = p.cmd.Process.Pid
	if rec.Started, err = started(rec.PID); err == nil {
		err = rec.write(dir)
	}
	if err != nil {
		p.kill()
		return err
	}
	return p.follow(ctx, o, func(server string) error {
		index := plan.Index
		ready := clusterdir.Ready{
			Name: o.Name, Kind: o.Kind, Kubeconfig: dir.Kubeconfig("admin"), Server: server, PID: os.Getpid(),
			StartedS: time.Since(began).Seconds(), Index: &index, HostIP: plan.HostIP.String(), NodeIP: plan.NodeIP.String(),
			Netns: plan.Netns,
		}
		if o.Audit {
			ready.AuditLog = dir.Path("audit.log")
		}
		if err := dir.WriteReady(ready); err != nil {
			return err
		}
		o.Progress("the cluster is ready: export KUBECONFIG=%s", ready.Kubeconfig)
		return nil
	})
}

func nodeSpec(dir clusterdir.Dir, plan address.Plan, o Options) (node.Spec, error) {
	runc, err := exec.LookPath("runc")
	if err != nil {
		return node.Spec{}, fmt.Errorf("find runc: %w; install the package runc", err)
	}
	spec := node.Spec{Dir: dir.Root, Name: o.Name, Plan: plan, Runc: runc, Audit: o.Audit, Lean: o.Lean}
	if spec.Bin, err = filepath.Abs(o.Node.Bin); err != nil {
		return node.Spec{}, fmt.Errorf("--bin %s: %w", o.Node.Bin, err)
	}
	for _, r := range o.Node.Registries {
		for _, file := range []*string{&r.CA, &r.Auth} {
			if *file == "" {
				continue
			}
			if *file, err = filepath.Abs(*file); err != nil {
				return node.Spec{}, fmt.Errorf("--registry %s: %w", r.Name, err)
			}
			if _, err := os.Stat(*file); err != nil {
				return node.Spec{}, fmt.Errorf("--registry %s: %w", r.Name, err)
			}
		}
		spec.Registries = append(spec.Registries, node.Registry(r))
	}
	return spec, nil
}

// initProcess is the init of a running node. It ends by itself when its standard input does, so that it does not outlive this
// process even if that is killed.
type initProcess struct {
	cmd    *exec.Cmd
	stdin  io.Closer
	stdout io.Reader
}

func startInit(plan address.Plan, o Options, spec string, index *os.File) (*initProcess, error) {
	// Not tied to a context: follow ends it in order.
	cmd := &exec.Cmd{Path: o.Node.Self, Args: []string{o.Node.Self, InitCommand, "--spec", spec}}
	cmd.Stderr = o.Log
	cmd.ExtraFiles = []*os.File{index} // the index is held until the init has ended too
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS,
		Setpgid:    true, // Ctrl-C is for this process, which then stops the node in order
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start the node's init: %w", err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start the node's init: %w", err)
	}
	if err := network.In(plan.Netns, cmd.Start); err != nil {
		return nil, fmt.Errorf("start the node's init: %w", err)
	}
	return &initProcess{cmd: cmd, stdin: stdin, stdout: stdout}, nil
}

func (p *initProcess) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

// follow passes the init's messages on until it ends, and makes it end when ctx does.
func (p *initProcess) follow(ctx context.Context, o Options, ready func(server string) error) error {
	ended := make(chan struct{})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		select {
		case <-ctx.Done():
			o.Progress("stopping")
			_ = p.stdin.Close()
			timeout := time.NewTimer(stopPatience - 15*time.Second)
			defer timeout.Stop()
			select {
			case <-ended:
			case <-timeout.C:
				_ = p.cmd.Process.Kill()
			}
		case <-ended:
		}
	}()
	var failure error
	lines := bufio.NewScanner(p.stdout)
	for lines.Scan() {
		var m node.Message
		if err := json.Unmarshal(lines.Bytes(), &m); err != nil {
			o.Progress("%s", lines.Text())
			continue
		}
		switch {
		case m.Error != "":
			failure = errors.New(m.Error)
		case m.Server != "":
			if failure = ready(m.Server); failure != nil {
				_ = p.stdin.Close()
			}
		default:
			o.Progress("%s", m.Progress)
		}
	}
	end := p.cmd.Wait()
	close(ended)
	<-stopped
	if failure != nil || ctx.Err() != nil {
		return failure // how an init ends that was told to is no news
	}
	if end != nil {
		return fmt.Errorf("the node's init ended: %w; see %s", end, o.Log.Name())
	}
	return errors.New("the node's init ended by itself; see " + o.Log.Name())
}

// cleanNode removes what node.json says there may be. It is what ends every cluster with a real node, orderly or not.
func cleanNode(ctx context.Context, dir clusterdir.Dir, progress func(string, ...any)) error {
	rec, err := readRecord(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	plan, err := address.ForIndex(rec.Index)
	if err != nil {
		return err
	}
	if err := rec.endInit(ctx, progress); err != nil {
		return err
	}
	index, err := holdLeftover(ctx, dir, plan, progress)
	if errors.Is(err, network.ErrInUse) {
		// Another cluster has taken the index since: what there is on it is that cluster's.
		return forget(dir)
	}
	if err != nil {
		return err
	}
	defer index.Close() // the end of the process would do
	return tearDown(ctx, dir, rec, plan, progress)
}

// holdLeftover takes the index of a cluster whose init has ended. The first thread of a killed process is a zombie before its
// others are gone, and what the init started goes after it: until then they hold the index in this folder's name.
func holdLeftover(ctx context.Context, dir clusterdir.Dir, plan address.Plan, progress func(string, ...any)) (*os.File, error) {
	ctx, cancel := context.WithTimeout(ctx, endPatience)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for said := false; ; {
		index, err := network.Hold(plan, dir.Root)
		if !errors.Is(err, network.ErrInUse) {
			return index, err
		}
		holder, heldErr := network.HeldBy(plan)
		if heldErr != nil {
			return nil, heldErr
		}
		if holder != dir.Root {
			return nil, err
		}
		if !said {
			said = true
			progress("waiting for the node's processes to be gone")
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("processes of the killed node still hold index %d: %w", plan.Index, context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// tearDown removes everything of a node whose init has ended. The caller holds the index.
func tearDown(ctx context.Context, dir clusterdir.Dir, rec record, plan address.Plan, progress func(string, ...any)) error {
	if err := node.RemoveCgroups(ctx, plan.Cgroup); err != nil {
		return err
	}
	if err := network.Down(plan, rec.Owner); err != nil && !errors.Is(err, network.ErrNotOwner) {
		return err
	}
	if err := forget(dir); err != nil {
		return err
	}
	progress("the node and its network are gone")
	return nil
}

// forget removes the node's state and the record that there was one.
func forget(dir clusterdir.Dir) error {
	if err := node.RemoveState(dir.Path("node")); err != nil {
		return err
	}
	if err := os.Remove(dir.Path("node.json")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove node.json: %w", err)
	}
	return nil
}

// endInit waits a little for the init to follow its parent, and kills it otherwise; the kernel then kills all of its namespace.
func (r record) endInit(ctx context.Context, progress func(string, ...any)) error {
	if !r.running() {
		return nil
	}
	progress("waiting for the node's init (pid %d)", r.PID)
	polite, cancel := context.WithTimeout(ctx, 45*time.Second)
	defer cancel()
	if r.waitEnd(polite) {
		return nil
	}
	progress("killing the node's init (pid %d)", r.PID)
	if r.running() {
		if err := syscall.Kill(r.PID, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("kill the node's init (pid %d): %w", r.PID, err)
		}
	}
	last, cancelLast := context.WithTimeout(context.WithoutCancel(ctx), endPatience)
	defer cancelLast()
	if !r.waitEnd(last) {
		return fmt.Errorf("the node's init (pid %d) does not end after SIGKILL", r.PID)
	}
	return nil
}

func (r record) waitEnd(ctx context.Context) bool {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for r.running() {
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
	}
	return true
}

func (r record) running() bool {
	if r.PID == 0 {
		return false
	}
	at, err := started(r.PID)
	return err == nil && at == r.Started
}

// started returns when a process was started, in clock ticks since boot. A zombie counts as ended.
func started(pid int) (uint64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The second field is a name in parentheses and may hold anything; the 22nd is the start.
	i := strings.LastIndexByte(string(b), ')')
	fields := strings.Fields(string(b)[i+1:])
	if i < 0 || len(fields) < 20 {
		return 0, fmt.Errorf("read /proc/%d/stat: unexpected content", pid)
	}
	if fields[0] == "Z" || fields[0] == "X" {
		return 0, fmt.Errorf("process %d has ended", pid)
	}
	return strconv.ParseUint(fields[19], 10, 64)
}

func (r record) write(dir clusterdir.Dir) error {
	b, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode node.json: %w", err)
	}
	tmp := dir.Path("node.json.tmp")
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return fmt.Errorf("write node.json: %w", err)
	}
	if err := os.Rename(tmp, dir.Path("node.json")); err != nil {
		return fmt.Errorf("write node.json: %w", err)
	}
	return nil
}

func readRecord(dir clusterdir.Dir) (record, error) {
	b, err := os.ReadFile(dir.Path("node.json"))
	if err != nil {
		return record{}, err
	}
	var r record
	if err := json.Unmarshal(b, &r); err != nil {
		return record{}, fmt.Errorf("read node.json: %w", err)
	}
	return r, nil
}
