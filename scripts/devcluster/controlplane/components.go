package controlplane

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"
	"go.etcd.io/etcd/server/v3/embed"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/client-go/rest"
	cliflag "k8s.io/component-base/cli/flag"
	logsapi "k8s.io/component-base/logs/api/v1"
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // registers metrics of the clients
	_ "k8s.io/component-base/metrics/prometheus/version"  // registers the build's version as a metric
	"k8s.io/klog/v2"
	apiapp "k8s.io/kubernetes/cmd/kube-apiserver/app"
	apioptions "k8s.io/kubernetes/cmd/kube-apiserver/app/options"
	kcmapp "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	kcmoptions "k8s.io/kubernetes/cmd/kube-controller-manager/app/options"
	schedapp "k8s.io/kubernetes/cmd/kube-scheduler/app"
	schedoptions "k8s.io/kubernetes/cmd/kube-scheduler/app/options"

	"github.com/slipway-build/slipway/scripts/devcluster/clusterdir"
)

// leanControllers returns those that something a deployer applies depends on.
func leanControllers() []string {
	return []string{
		"deployment-controller", "replicaset-controller", "statefulset-controller", "daemonset-controller", "job-controller",
		"cronjob-controller", "ttl-after-finished-controller", "horizontal-pod-autoscaler-controller", "disruption-controller",
		"endpoints-controller", "endpointslice-controller", "endpointslice-mirroring-controller",
		"garbage-collector-controller", "pod-garbage-collector-controller", "namespace-controller", "resourcequota-controller",
		"serviceaccount-controller", "root-ca-certificate-publisher-controller", "clusterrole-aggregation-controller",
		"node-lifecycle-controller", "taint-eviction-controller",
	}
}

// quiet sends what the components log to a file: they were made to own the process's standard error.
func quiet(log *os.File) {
	logsapi.ReapplyHandling = logsapi.ReapplyHandlingIgnoreUnchanged
	klog.LogToStderr(false)
	klog.SetOutput(log)
	rest.SetDefaultWarningHandler(rest.NoWarnings{})
}

// startEtcd runs one member on unix sockets. It does not fsync: what a development cluster loses with the machine's power is
// applied again.
func startEtcd(ctx context.Context, dir clusterdir.Dir) (*embed.Etcd, error) {
	cfg := embed.NewConfig()
	cfg.Dir = dir.Path("etcd")
	socket := func(name string) []url.URL {
		return []url.URL{{Scheme: "unix", Path: filepath.Join(dir.Sockets(), name)}}
	}
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = socket("etcd.sock"), socket("etcd.sock")
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = socket("peer.sock"), socket("peer.sock")
	cfg.InitialCluster = cfg.Name + "=" + cfg.ListenPeerUrls[0].String()
	cfg.UnsafeNoFsync = true
	cfg.TickMs, cfg.ElectionMs = 10, 100
	cfg.LogLevel, cfg.LogOutputs = "error", []string{dir.Path("etcd.log")}
	e, err := embed.StartEtcd(cfg)
	if err != nil {
		return nil, fmt.Errorf("start etcd in %s: %w", cfg.Dir, err)
	}
	select {
	case <-e.Server.ReadyNotify():
		return e, nil
	case err := <-e.Err():
		e.Close()
		return nil, fmt.Errorf("start etcd in %s: %w", cfg.Dir, err)
	case <-ctx.Done():
		e.Close()
		return nil, context.Cause(ctx)
	}
}

func runAPIServer(ctx context.Context, cfg Config, f files, listener net.Listener) error {
	addr, ok := listener.Addr().(*net.TCPAddr)
	if !ok {
		return fmt.Errorf("listens on %s, which is no TCP address", listener.Addr())
	}
	reconciler := "none"
	if cfg.ServeServices {
		reconciler = "lease"
	}
	args := []string{
		"--etcd-servers=unix://" + filepath.Join(cfg.Dir.Sockets(), "etcd.sock"),
		"--bind-address=" + addr.IP.String(), "--advertise-address=" + addr.IP.String(), fmt.Sprintf("--secure-port=%d", addr.Port),
		"--tls-cert-file=" + f.serverCert, "--tls-private-key-file=" + f.serverKey, "--client-ca-file=" + f.ca,
		"--kubelet-certificate-authority=" + f.ca,
		"--kubelet-client-certificate=" + f.kubeletClientCert, "--kubelet-client-key=" + f.kubeletClientKey,
		"--kubelet-preferred-address-types=InternalIP",
		"--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file=" + f.serviceAccountKey,
		"--service-account-signing-key-file=" + f.serviceAccountKey, "--service-cluster-ip-range=" + cfg.Services.String(),
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--anonymous-auth=false",
		"--allow-privileged=true", "--endpoint-reconciler-type=" + reconciler, "--profiling=false",
	}
	if cfg.EgressSocket != "" {
		args = append(args, "--egress-selector-config-file="+f.egress)
	}
	if cfg.Audit {
		args = append(args, "--audit-policy-file="+f.auditPolicy, "--audit-log-path="+cfg.Dir.Path("audit.log"),
			"--audit-log-maxsize=256", "--audit-log-maxbackup=3")
	}
	o := apioptions.NewServerRunOptions()
	if err := parse(o.Flags(), args); err != nil {
		return err
	}
	o.SecureServing.Listener = listener
	if err := o.GenericServerRunOptions.ComponentGlobalsRegistry.Set(); err != nil {
		return fmt.Errorf("set feature gates: %w", err)
	}
	if err := logsapi.ValidateAndApply(o.Logs, utilfeature.DefaultFeatureGate); err != nil {
		return fmt.Errorf("set up logging: %w", err)
	}
	quiet(cfg.Log)
	completed, err := o.Complete(ctx)
	if err != nil {
		return fmt.Errorf("complete options: %w", err)
	}
	if errs := completed.Validate(); len(errs) > 0 {
		return fmt.Errorf("validate options: %w", errors.Join(errs...))
	}
	return apiapp.Run(ctx, completed)
}

func runControllerManager(ctx context.Context, cfg Config, f files) error {
	o, err := kcmoptions.NewKubeControllerManagerOptions()
	if err != nil {
		return fmt.Errorf("make options: %w", err)
	}
	controllers := "*"
	if cfg.Lean {
		controllers = strings.Join(leanControllers(), ",")
	}
	known, disabled, aliases := kcmapp.KnownControllers(), kcmapp.ControllersDisabledByDefault(), kcmapp.ControllerAliases()
	flags := o.Flags(known, disabled, aliases)
	o.ParsedFlags = &flags
	err = parse(flags, []string{
		"--kubeconfig=" + f.controllerManager, "--authentication-kubeconfig=", "--secure-port=0", "--leader-elect=false",
		"--service-account-private-key-file=" + f.serviceAccountKey, "--root-ca-file=" + f.ca,
		"--use-service-account-credentials=false", "--kube-api-qps=500", "--kube-api-burst=1000",
		"--controllers=" + controllers, "--profiling=false",
	})
	if err != nil {
		return err
	}
	c, err := o.Config(ctx, known, disabled, aliases)
	if err != nil {
		return fmt.Errorf("complete options: %w", err)
	}
	return kcmapp.Run(ctx, c.Complete())
}

func runScheduler(ctx context.Context, f files) error {
	o := schedoptions.NewOptions()
	err := parse(*o.Flags, []string{
		"--kubeconfig=" + f.scheduler, "--secure-port=0", "--leader-elect=false",
		"--kube-api-qps=500", "--kube-api-burst=1000", "--profiling=false",
	})
	if err != nil {
		return err
	}
	completed, scheduler, err := schedapp.Setup(ctx, o)
	if err != nil {
		return fmt.Errorf("complete options: %w", err)
	}
	return schedapp.Run(ctx, completed, scheduler)
}

func parse(flags cliflag.NamedFlagSets, args []string) error {
	all := pflag.NewFlagSet("component", pflag.ContinueOnError)
	for _, set := range flags.FlagSets {
		all.AddFlagSet(set)
	}
	if err := all.Parse(args); err != nil {
		return fmt.Errorf("parse flags: %w", err)
	}
	return nil
}
