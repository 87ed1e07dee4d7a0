package kubetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	envProgram    = "SLIPWAY_DEVCLUSTER"      // the program that starts clusters
	envKubeconfig = "SLIPWAY_TEST_KUBECONFIG" // a running one that may be used instead

	startWithin = 3 * time.Minute
	stopWithin  = 15 * time.Second
)

var errNoProgram = errors.New("no devcluster program: `make tools` builds it into ~/.cache/slipway/bin, or name one in " + envProgram)

// Main starts a cluster, runs the tests of the package against it and stops it. It returns the exit code:
//
//	func TestMain(m *testing.M) { os.Exit(kubetest.Main(m)) }
//
// With SLIPWAY_TEST_KUBECONFIG set, that cluster is used and left running.
func Main(m *testing.M) int {
	if os.Getenv(envKubeconfig) != "" {
		return m.Run()
	}
	stop, err := start()
	if err != nil {
		fmt.Fprintln(os.Stderr, "kubetest:", err)
		return 1
	}
	defer stop()
	return m.Run()
}

// Kubeconfig is the path of the cluster's administrator's kubeconfig.
func Kubeconfig(tb testing.TB) string {
	tb.Helper()
	path := os.Getenv(envKubeconfig)
	if path == "" {
		tb.Fatal("no cluster runs: the package needs func TestMain(m *testing.M) { os.Exit(kubetest.Main(m)) }")
	}
	return path
}

// Client is a typed client of its own, for what a test looks at or prepares.
func Client(tb testing.TB) kubernetes.Interface {
	tb.Helper()
	cfg, err := clientcmd.BuildConfigFromFlags("", Kubeconfig(tb))
	if err != nil {
		tb.Fatal(err)
	}
	cfg.QPS, cfg.Burst = 200, 400
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	return client
}

// Namespace returns the name of a namespace for this test alone. It is not made, and it is deleted at the end.
func Namespace(tb testing.TB) string {
	tb.Helper()
	client := Client(tb)
	name := fmt.Sprintf("t-%d", time.Now().UnixNano())
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), stopWithin)
		defer cancel()
		_ = client.CoreV1().Namespaces().Delete(ctx, name, metav1.DeleteOptions{})
	})
	return name
}

// NewNamespace makes one and waits until pods may be made in it.
func NewNamespace(tb testing.TB) string {
	tb.Helper()
	name, client := Namespace(tb), Client(tb)
	ctx := tb.Context()
	if _, err := client.CoreV1().Namespaces().Create(ctx,
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
		tb.Fatal(err)
	}
	Eventually(tb, "the default service account of "+name, func() bool {
		_, err := client.CoreV1().ServiceAccounts(name).Get(ctx, "default", metav1.GetOptions{})
		return err == nil
	})
	return name
}

// Eventually looks at a condition until it holds, and fails the test when it does not within half a minute.
func Eventually(tb testing.TB, what string, holds func() bool) {
	tb.Helper()
	deadline := time.NewTimer(30 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-deadline.C:
			tb.Fatalf("waited in vain for %s", what)
		case <-tick.C:
		}
	}
}

func start() (stop func(), err error) {
	program, err := find()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "kubetest-")
	if err != nil {
		return nil, err
	}
	out, err := os.Create(filepath.Join(dir, "output"))
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(context.Background(), program, "up", "--dir", dir, "--name", filepath.Base(dir), "--kind", "kwok")
	cmd.Stdout, cmd.Stderr = out, out
	dieWithParent(cmd)
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", program, err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }() // stop waits for it
	stop = func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(stopWithin):
			_ = cmd.Process.Kill()
			<-ended
		}
		_ = out.Close()
		_ = os.RemoveAll(dir)
	}
	if err := awaitReady(dir, ended); err != nil {
		text, _ := os.ReadFile(out.Name())
		stop()
		return nil, fmt.Errorf("%s: %w; it said:\n%s", program, err, text)
	}
	return stop, nil
}

func awaitReady(dir string, ended chan error) error {
	deadline := time.After(startWithin)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-ended:
			ended <- err // for stop
			return fmt.Errorf("ended before the cluster was ready: %w", err)
		case <-deadline:
			return fmt.Errorf("no cluster after %s", startWithin)
		case <-tick.C:
		}
		text, err := os.ReadFile(filepath.Join(dir, "ready.json"))
		if err != nil {
			continue
		}
		var ready struct {
			Kubeconfig string `json:"kubeconfig"`
		}
		if err := json.Unmarshal(text, &ready); err != nil || ready.Kubeconfig == "" {
			return fmt.Errorf("ready.json names no kubeconfig: %s", strings.TrimSpace(string(text)))
		}
		return os.Setenv(envKubeconfig, ready.Kubeconfig)
	}
}

func find() (string, error) {
	if named := os.Getenv(envProgram); named != "" {
		return named, nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	path := filepath.Join(cache, "slipway", "bin", "devcluster")
	if _, err := os.Stat(path); err != nil {
		return "", errNoProgram
	}
	return path, nil
}
