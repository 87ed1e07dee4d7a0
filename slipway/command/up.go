package command

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/internal/clientfile"
)

// Farm runs a whole farm until its context is done. ready is called once it serves and
// has left its client.yaml in the state folder.
type Farm func(ctx context.Context, c FarmConfig, ready func()) error

// FarmConfig is what `slipway up` was asked for.
type FarmConfig struct {
	State           string
	SigningKey      string            // file; empty: nothing is signed
	SigningPassword string            // file with its password; empty: it is not encrypted
	Advisories      string            // folder; empty: no packages are scanned
	Targets         string            // path of targets.yaml; empty: nothing is rolled out
	Kubeconfig      string            // paths, as in KUBECONFIG; empty: the user's own
	Contexts        map[string]string // cluster of targets.yaml → context of the kubeconfig
	// DevClusters: each cluster of targets.yaml is a development cluster on this machine,
	// which lives as long as the farm.
	DevClusters bool
	AllowExec   bool   // kubeconfigs may start programs for credentials
	Traces      string // OTLP endpoint; empty: none
	Prometheus  string // its address; empty: none
	// RegistryListen are further addresses, host:port, where the registry is served with
	// TLS, for the nodes of clusters on this machine.
	RegistryListen []string
	LogFormat      string
	LogLevel       string
}

// The files of a farm in its state folder, beside client.yaml.
const (
	lockName = "farm.lock" // held while the farm runs; holds its process id
	logName  = "farm.log"
)

// stopPatience is how long a farm may take to stop: workers end or hand back their tasks.
const stopPatience = 60 * time.Second

func (a *app) up() *cobra.Command {
	var conf FarmConfig
	var detach bool
	var contexts []string
	c := &cobra.Command{
		Use:   "up",
		Short: "Start a whole farm on this machine",
		Long: `Up starts a coordinator, workers, a deployer, a queue, a registry and BuildKit, on
loopback addresses only and with generated credentials, and leaves client.yaml in the
state folder, by which other commands find it. It stays in the foreground until Ctrl-C;
with -d it returns when the farm serves, and slipway down stops it.`,
		Example: "  slipway up --targets targets.yaml --context dev=kind-dev\n  slipway up --targets targets.yaml --dev-clusters\n  slipway up -d --state ~/farm",
		Args:    exactly(),
	}
	c.Flags().StringVar(&conf.Targets, "targets", "", "the platform team's targets.yaml (default: nothing is rolled out)")
	c.Flags().StringVar(&conf.Advisories, "advisories", "", "folder with what is known of vulnerable packages, in the OSV format (default: no packages are scanned)")
	c.Flags().StringVar(&conf.SigningKey, "signing-key", "", "file with a private key, as of cosign generate-key-pair, that images are signed with (default: none are)")
	c.Flags().StringVar(&conf.SigningPassword, "signing-password", "", "file with the password of the signing key, if it is encrypted")
	c.Flags().StringVar(&conf.Kubeconfig, "kubeconfig", "", "kubeconfig files with the contexts of the clusters, separated by colons (default: KUBECONFIG or ~/.kube/config)")
	c.Flags().StringArrayVar(&conf.RegistryListen, "registry-listen", nil, "HOST:PORT: serve the registry there too, with TLS, for nodes of clusters on this machine; may be repeated")
	c.Flags().StringArrayVar(&contexts, "context", nil, "CLUSTER=CONTEXT: which context is a cluster of targets.yaml (default: the one of the same name); may be repeated")
	c.Flags().BoolVar(&conf.DevClusters, "dev-clusters", false, "start a development cluster on this machine for each cluster of targets.yaml, with a real node where the machine can (Linux, root); they end with the farm")
	c.Flags().BoolVar(&conf.AllowExec, "allow-exec", false, "let kubeconfigs start the programs that they name for credentials (clusters of cloud providers)")
	c.Flags().StringVar(&conf.Prometheus, "prometheus", "", "Prometheus that analyses of canaries ask, http://host:port")
	c.Flags().StringVar(&conf.Traces, "traces", "", "OTLP endpoint that traces go to, host:port (gRPC)")
	c.Flags().StringVar(&conf.LogLevel, "log-level", "warn", "debug, info, warn or error")
	c.Flags().StringVar(&conf.LogFormat, "log-format", "text", "text or json")
	c.Flags().BoolVarP(&detach, "detach", "d", false, "start it in the background")
	c.RunE = func(c *cobra.Command, _ []string) error {
		var err error
		if conf.State, err = filepath.Abs(a.state); err != nil {
			return usage("state folder: %w", err)
		}
		if conf.Contexts, err = parseContexts(contexts); err != nil {
			return err
		}
		if conf.DevClusters && conf.Targets == "" {
			return usage("--dev-clusters needs --targets FILE: that file says which clusters there are")
		}
		if conf.DevClusters && (len(contexts) > 0 || conf.Kubeconfig != "") {
			return usage("--dev-clusters makes the clusters itself: leave out --context and --kubeconfig")
		}
		for _, file := range append(filepath.SplitList(conf.Kubeconfig), conf.Targets, conf.Advisories, conf.SigningKey, conf.SigningPassword) {
			if file == "" {
				continue
			}
			if _, err := os.Stat(file); err != nil {
				return usage("%s: no such file", file)
			}
		}
		if detach {
			return a.background(c.Context(), conf)
		}
		return a.foreground(c.Context(), conf)
	}
	return c
}

func parseContexts(list []string) (map[string]string, error) {
	out := map[string]string{}
	for _, item := range list {
		cluster, name, ok := strings.Cut(item, "=")
		if !ok || cluster == "" || name == "" {
			return nil, usage("--context %q: expected CLUSTER=CONTEXT", item)
		}
		out[cluster] = name
	}
	return out, nil
}

func (a *app) foreground(ctx context.Context, conf FarmConfig) (err error) {
	lock, err := takeLock(conf.State)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	err = a.env.Farm(ctx, conf, func() { a.note("the farm is up; state folder %s; Ctrl-C stops it", conf.State) })
	err = errors.Join(err, clientfile.Remove(conf.State))
	if ctx.Err() != nil && (err == nil || errors.Is(err, context.Canceled)) {
		return nil // it was asked to stop, and did
	}
	if err != nil {
		return &exitError{ExitUsage, err}
	}
	return nil
}

// takeLock keeps two farms out of one state folder. The lock goes with the process,
// however it ends.
func takeLock(state string) (*os.File, error) {
	if err := os.MkdirAll(state, 0o700); err != nil {
		return nil, usage("state folder: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(state, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, usage("state folder: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(usage("a farm runs with the state folder %s already; slipway down stops it", state), f.Close())
	}
	if err := f.Truncate(0); err == nil {
		_, err = f.WriteString(strconv.Itoa(os.Getpid()) + "\n")
		if err != nil {
			return nil, errors.Join(usage("state folder: %w", err), f.Close())
		}
	}
	return f, nil
}

// background starts this program again, away from the terminal, and waits until it serves.
func (a *app) background(ctx context.Context, conf FarmConfig) error {
	probe, err := takeLock(conf.State)
	if err != nil {
		return err
	}
	if err := errors.Join(clientfile.Remove(conf.State), probe.Close()); err != nil {
		return usage("state folder: %w", err)
	}
	logFile := filepath.Join(conf.State, logName)
	out, err := os.OpenFile(logFile, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return usage("state folder: %w", err)
	}
	defer out.Close() // the child has its own
	args := []string{"up", "--state", conf.State, "--log-level", conf.LogLevel, "--log-format", conf.LogFormat}
	for flag, value := range map[string]string{"--targets": conf.Targets, "--advisories": conf.Advisories, "--signing-key": conf.SigningKey, "--signing-password": conf.SigningPassword, "--kubeconfig": conf.Kubeconfig, "--traces": conf.Traces} {
		if value != "" {
			args = append(args, flag, value)
		}
	}
	for _, address := range conf.RegistryListen {
		args = append(args, "--registry-listen", address)
	}
	if conf.DevClusters {
		args = append(args, "--dev-clusters")
	}
	if conf.AllowExec {
		args = append(args, "--allow-exec")
	}
	for cluster, name := range conf.Contexts {
		args = append(args, "--context", cluster+"="+name)
	}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), a.env.Program, args...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = a.env.Dir, a.env.Environ, out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return usage("start the farm: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-ended:
			return &exitError{ExitUsage, fmt.Errorf("the farm ended while it started (%w):\n%s", err, lastOf(logFile))}
		case <-ctx.Done():
			a.note("the farm goes on starting in the background (process %d, log %s)", cmd.Process.Pid, logFile)
			return &exitError{code: ExitInterrupted}
		case <-tick.C:
			if _, err := clientfile.Read(conf.State); err == nil {
				a.note("the farm is up; state folder %s, log %s; slipway down stops it", conf.State, logFile)
				return nil
			}
		}
	}
}

func lastOf(name string) string {
	data, err := os.ReadFile(name)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	return strings.Join(lines[max(0, len(lines)-20):], "\n")
}

func (a *app) down() *cobra.Command {
	c := &cobra.Command{
		Use:   "down",
		Short: "Stop the farm that slipway up started",
		Long:  "Down stops the farm of the state folder and waits until it has. What it has stored stays.",
		Args:  exactly(),
	}
	c.RunE = func(c *cobra.Command, _ []string) error {
		state, err := filepath.Abs(a.state)
		if err != nil {
			return usage("state folder: %w", err)
		}
		name := filepath.Join(state, lockName)
		f, err := os.Open(name)
		if errors.Is(err, os.ErrNotExist) {
			a.note("no farm runs with the state folder %s", state)
			return nil
		}
		if err != nil {
			return usage("state folder: %w", err)
		}
		defer f.Close() // it was only read
		// Whoever holds the lock is the farm; the number in the file is asked only then.
		if free(f) {
			a.note("no farm runs with the state folder %s", state)
			return clientfile.Remove(state)
		}
		data, err := os.ReadFile(name)
		if err != nil {
			return usage("state folder: %w", err)
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
		if err != nil || pid < 2 {
			return usage("%s does not name the farm's process; stop it by hand", name)
		}
		if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
			return usage("stop the farm, process %d: %w", pid, err)
		}
		return a.waitFree(c.Context(), f, pid)
	}
	return c
}

func free(f *os.File) bool {
	if syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB) != nil {
		return false
	}
	return syscall.Flock(int(f.Fd()), syscall.LOCK_UN) == nil
}

func (a *app) waitFree(ctx context.Context, f *os.File, pid int) error {
	ctx, cancel := context.WithTimeoutCause(ctx, stopPatience, errors.New("it takes too long"))
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !free(f) {
		select {
		case <-ctx.Done():
			return usage("the farm, process %d, was told to stop and has not yet: %w", pid, context.Cause(ctx))
		case <-tick.C:
		}
	}
	a.note("the farm is down")
	return nil
}
