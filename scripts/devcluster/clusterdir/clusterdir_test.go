package clusterdir_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/scripts/devcluster/clusterdir"
)

func TestLockIsRefusedWhileHeldAndNamesTheHolder(t *testing.T) {
	d, err := clusterdir.Open(filepath.Join(t.TempDir(), "c"))
	if err != nil {
		t.Fatal(err)
	}
	release, err := d.Lock()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Lock(); !errors.Is(err, clusterdir.ErrBusy) || !strings.Contains(err.Error(), "devcluster down") {
		t.Errorf("second lock: %v; want ErrBusy with what to do", err)
	}
	if d.Holder() != os.Getpid() {
		t.Errorf("holder is %d, want %d", d.Holder(), os.Getpid())
	}
	release()
	again, err := d.Lock()
	if err != nil {
		t.Fatalf("lock after release: %v", err)
	}
	again()
}

func TestSocketPathIsShortHoweverDeepTheFolder(t *testing.T) {
	d := clusterdir.Dir{Root: "/" + strings.Repeat("very-long-name/", 20)}
	if n := len(filepath.Join(d.Sockets(), "etcd-peer.sock")); n > 100 {
		t.Errorf("socket path has %d bytes", n)
	}
}

func TestWipeKeepsLogs(t *testing.T) {
	d, err := clusterdir.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"audit.log", "control-plane.log", "admin.kubeconfig"} {
		if err := os.WriteFile(d.Path(name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.WriteReady(clusterdir.Ready{Name: "a"}); err != nil {
		t.Fatal(err)
	}
	if err := d.Wipe(); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(d.Path("*"))
	if err != nil {
		t.Fatal(err)
	}
	if len(left) != 2 {
		t.Errorf("left after wipe: %v; want the two logs", left)
	}
}
