package rows

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/slipway-build/slipway/bench/farm"
	"github.com/slipway-build/slipway/bench/node"
	"github.com/slipway-build/slipway/bench/pairs"
	"github.com/slipway-build/slipway/bench/reference/loop"
	"github.com/slipway-build/slipway/internal/devclusters"
	"github.com/slipway-build/slipway/internal/e2e/audit"
)

// regions are a control plane that stands for many clusters, and the process that rolls services out on them.
type regions struct {
	b       *bench
	size    node.Rollouts
	loop    loop.Loop
	list    []*devclusters.Cluster
	program string // that starts clusters
	dir     string
	client  kubernetes.Interface
	proc    *farm.Proc
	made    []string // namespaces
	counter uint64
	broken  []string
	again   int // services of ours that were tried again
	// first is how long the reference took in this pair.
	first pairs.Half
}

var errNoCluster = errors.New("a cluster is started by devcluster, which make tools builds")

// p10 is rollouts on many clusters. It writes four files from the same rollouts of ours.
func p10(ctx context.Context, b *bench) (err error) {
	machine := farm.Machine()
	dir, remove, err := scratch(b.Disk)
	if err != nil {
		return err
	}
	defer remove()
	f := &regions{b: b, dir: dir, size: node.Rollouts{Clusters: b.size(20, 2), Services: b.size(25, 3), Slots: 32}}
	defer f.close()
	if err := f.open(ctx); err != nil {
		return err
	}
	var names []string
	for _, name := range []string{"P10-first", "P10-unchanged", "P10-kubectl", "P10-helm"} {
		if b.wants(name) {
			names = append(names, name)
		}
	}
	all, err := b.interleaveAll(names, func(i int) ([]pairs.Half, error) { return f.reference(ctx, i, names) },
		func(i int) ([]pairs.Half, error) { return f.ours(ctx, i, names) })
	if err != nil {
		return err
	}
	for k, name := range names {
		r, goal := f.describe(name)
		r.Raw, r.Broken = all[k], f.broken
		r.Notes = append(r.Notes, fmt.Sprintf("%d of %d rollouts of services were tried again, since a request was not answered in time", f.again, 2*len(r.Raw)*f.size.Clusters*f.size.Services))
		if err := b.finish(r, goal, machine); err != nil {
			return err
		}
		f.broken = nil // each is said once
	}
	return nil
}

func (f *regions) describe(name string) (pairs.Result, pairs.Goal) {
	objects := f.size.Clusters * f.size.Services * node.ObjectsOf
	fleet := fmt.Sprintf("%d services of %d objects (one pod each) on each of %d clusters, %d services at a time on each", f.size.Services, node.ObjectsOf, f.size.Clusters, f.size.Slots)
	r := pairs.Result{
		Row: name, Unit: "s", Durable: "that of the development cluster: etcd without fsync, for both",
		What:    fleet + ": a deployer's work from the lease to the answer",
		Against: "client-go alone: a server-side apply of each object without a limit of requests, and one watch for each kind, until every Deployment is available",
		Notes: []string{
			"the clusters are namespaces of one API server with simulated nodes, each with clients of its own; they are made before",
			"without coordinator: leases, manifests and answers are not a part of either half",
		},
	}
	switch name {
	case "P10-unchanged":
		r.What += ", once more when nothing has changed"
		r.Against = fmt.Sprintf("the same as for P10-first: %d objects that are not there yet", objects)
		return r, pairs.Goal{Limit: 0.03, AtMost: true}
	case "P10-kubectl":
		r.Unit, r.Against = "objects/s", fmt.Sprintf("kubectl apply and kubectl rollout status, one service after the other, of %d services on one cluster", f.loop.Services)
		return r, pairs.Goal{Limit: 10}
	case "P10-helm":
		r.Unit, r.Against = "objects/s", fmt.Sprintf("helm upgrade --install --wait, one service after the other, of %d services on one cluster", f.loop.Services)
		return r, pairs.Goal{Limit: 20}
	default:
		return r, pairs.Goal{Limit: 1.1, AtMost: true}
	}
}

func (f *regions) open(ctx context.Context) (err error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return fmt.Errorf("find devcluster: %w", err)
	}
	bin := filepath.Join(cache, "slipway", "bin")
	f.program = filepath.Join(bin, "devcluster")
	if _, err := os.Stat(f.program); err != nil {
		return errors.Join(errNoCluster, err)
	}
	if f.list, err = devclusters.Start(ctx, devclusters.Config{Program: f.program, Dir: filepath.Join(f.dir, "clusters")}, []devclusters.Spec{{Name: "all", Kind: devclusters.Simulated}}); err != nil {
		return fmt.Errorf("start a cluster: %w", err)
	}
	f.size.Kubeconfig = f.list[0].Ready.Kubeconfig
	config, err := clientcmd.BuildConfigFromFlags("", f.size.Kubeconfig)
	if err == nil {
		config.QPS, config.Burst = 500, 500
		f.client, err = kubernetes.NewForConfig(config)
	}
	if err != nil {
		return fmt.Errorf("client of the cluster: %w", err)
	}
	f.loop = loop.Loop{Kubeconfig: f.size.Kubeconfig, Dir: f.dir, Helm: filepath.Join(bin, "helm"), Services: f.b.size(10, 1)}
	if f.b.wants("P10-kubectl") {
		if f.loop.Kubectl, err = loop.Build(ctx, f.dir); err != nil {
			return err
		}
	}
	f.proc, err = farm.Start(ctx, "rollouts", f.size)
	return err
}

func (f *regions) close() {
	if f.proc != nil {
		f.proc.Stop()
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if f.list != nil {
		_ = devclusters.Stop(ctx, f.program, filepath.Join(f.dir, "clusters"), f.list)
	}
}

// namespaces makes those of a site, once what was there before is gone.
func (f *regions) namespaces(ctx context.Context, s node.Site, n int) error {
	namespaces := f.client.CoreV1().Namespaces()
	for _, name := range f.made {
		if err := namespaces.Delete(ctx, name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("delete what is left: %w", err)
		}
	}
	for _, name := range f.made {
		if err := eventually(ctx, func() bool {
			_, err := namespaces.Get(ctx, name, metav1.GetOptions{})
			return apierrors.IsNotFound(err)
		}); err != nil {
			return err
		}
	}
	f.made = nil
	for i := range n {
		name := s.Namespace(i)
		if _, err := namespaces.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("make a namespace: %w", err)
		}
		f.made = append(f.made, name)
	}
	for _, name := range f.made { // what every namespace has comes a moment later
		if err := eventually(ctx, func() bool {
			_, err := f.client.CoreV1().ServiceAccounts(name).Get(ctx, "default", metav1.GetOptions{})
			_, cerr := f.client.CoreV1().ConfigMaps(name).Get(ctx, "kube-root-ca.crt", metav1.GetOptions{})
			return err == nil && cerr == nil
		}); err != nil {
			return err
		}
	}
	return nil
}

func eventually(ctx context.Context, holds func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	for !holds() {
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("the cluster does not settle: %w", context.Cause(ctx))
		}
	}
	return nil
}

// rolled has the process roll everything out, and checks that it is there and works. It answers how often who wrote.
func (f *regions) rolled(do string, s node.Site, agent string) (h pairs.Half, writes int, err error) {
	before, err := f.writes(agent, s.Prefix)
	if err != nil {
		return h, 0, err
	}
	cpu := farm.Family(f.proc.PID())
	var rolled node.Rolled
	if err := f.proc.Call(do, s, &rolled); err != nil {
		return h, 0, err
	}
	h = pairs.Half{Value: rolled.Elapsed.Seconds(), CPU: farm.Family(f.proc.PID()) - cpu}
	after, err := f.writes(agent, s.Prefix)
	f.again += rolled.Again
	fmt.Fprintf(f.b.Out, "P10 %s in %s…: %.2f s, %d writes, %d services tried again\n", do, s.Prefix, h.Value, after-before, rolled.Again)
	return h, after - before, err
}

func (f *regions) writes(agent, prefix string) (int, error) {
	all, err := audit.Read(f.list[0].Ready.Audit)
	n := 0
	for _, w := range all {
		if strings.HasPrefix(w.Agent, agent) && strings.HasPrefix(w.Namespace, prefix) {
			n++
		}
	}
	if err != nil {
		return 0, fmt.Errorf("witness: %w", err)
	}
	return n, nil
}

// there: every service of a site works.
func (f *regions) there(ctx context.Context, half string) error {
	for _, name := range f.made {
		list, err := f.client.AppsV1().Deployments(name).List(ctx, metav1.ListOptions{})
		if err != nil {
			return fmt.Errorf("look at what stands: %w", err)
		}
		works := 0
		for _, d := range list.Items {
			if d.Status.AvailableReplicas == 1 && d.Status.ObservedGeneration == d.Generation {
				works++
			}
		}
		if works != f.size.Services {
			f.broken = append(f.broken, fmt.Sprintf("%s: %d of %d services work in %s", half, works, f.size.Services, name))
		}
	}
	return nil
}

func (f *regions) reference(ctx context.Context, i int, names []string) (out []pairs.Half, err error) {
	s := node.Site{Prefix: fmt.Sprintf("raw-%d", i)}
	if err := f.namespaces(ctx, s, f.size.Clusters); err != nil {
		return nil, err
	}
	if f.first, _, err = f.rolled("raw", s, node.AgentRaw); err != nil {
		return nil, err
	}
	if err := f.there(ctx, "client-go"); err != nil {
		return nil, err
	}
	for _, name := range names {
		h := f.first
		switch name {
		case "P10-kubectl":
			h, err = f.script(ctx, fmt.Sprintf("kubectl-%d", i), loop.Loop.ByKubectl)
		case "P10-helm":
			h, err = f.script(ctx, fmt.Sprintf("helm-%d", i), loop.Loop.ByHelm)
		}
		if err != nil {
			return nil, err
		}
		out = append(out, h)
	}
	return out, nil
}

// script is the rate of a loop.
func (f *regions) script(ctx context.Context, prefix string, do func(loop.Loop, context.Context) (loop.Report, error)) (pairs.Half, error) {
	s := node.Site{Prefix: prefix}
	if err := f.namespaces(ctx, s, 1); err != nil {
		return pairs.Half{}, err
	}
	l := f.loop
	l.Namespace = s.Namespace(0)
	r, err := do(l, ctx)
	return pairs.Half{Value: float64(l.Services*node.ObjectsOf) / r.Elapsed.Seconds(), CPU: r.CPU}, err
}

func (f *regions) ours(ctx context.Context, i int, names []string) (out []pairs.Half, err error) {
	s := node.Site{Prefix: fmt.Sprintf("ours-%d", i), Counter: 1}
	if err := f.namespaces(ctx, s, f.size.Clusters); err != nil {
		return nil, err
	}
	objects := f.size.Clusters * f.size.Services * node.ObjectsOf
	first, writes, err := f.rolled("ours", s, node.AgentOurs)
	if err != nil {
		return nil, err
	}
	if writes != objects {
		f.broken = append(f.broken, fmt.Sprintf("ours: %d writes of %d objects", writes, objects))
	}
	if err := f.there(ctx, "ours"); err != nil {
		return nil, err
	}
	s.Counter++
	unchanged, writes, err := f.rolled("ours", s, node.AgentOurs)
	if err != nil {
		return nil, err
	}
	if writes != 0 {
		f.broken = append(f.broken, fmt.Sprintf("ours: %d writes though nothing had changed", writes))
	}
	rate := pairs.Half{Value: float64(objects) / first.Value, CPU: first.CPU}
	for _, name := range names {
		h := rate
		switch name {
		case "P10-first":
			h = first
		case "P10-unchanged":
			h = unchanged
		}
		out = append(out, h)
	}
	return out, nil
}
