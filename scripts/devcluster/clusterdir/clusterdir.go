// Package clusterdir is the folder of one development cluster: where its files lie, who runs it, and the ready.json that tells
// others how to reach it.
//
// It starts and stops nothing.
package clusterdir

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// ErrBusy is returned by Lock while another process runs the cluster.
var ErrBusy = errors.New("a cluster is running in this folder")

// Ready is what ready.json holds. It exists only while the cluster serves.
type Ready struct {
	Name       string `json:"name"`
	Kind       string `json:"kind"`
	Kubeconfig string `json:"kubeconfig"`
	Server     string `json:"server"`
	PID        int    `json:"pid"`
	// StartedS is how many seconds the start took.
	StartedS float64 `json:"started_s"`
	AuditLog string  `json:"audit_log,omitempty"`
	// Simulated says that pods are KWOK's: they have states and events, and nothing runs.
	Simulated bool `json:"simulated"`
	// Index, HostIP, NodeIP and Netns belong to a cluster with a real node.
	Index  *int   `json:"index,omitempty"`
	HostIP string `json:"host_ip,omitempty"`
	NodeIP string `json:"node_ip,omitempty"`
	Netns  string `json:"netns,omitempty"`
}

// Dir is the folder of one cluster.
type Dir struct {
	Root string
}

// Open makes the folder if it does not exist.
func Open(path string) (Dir, error) {
	if path == "" {
		return Dir{}, errors.New("--dir is empty: name the folder in which the cluster keeps its state")
	}
	root, err := filepath.Abs(path)
	if err != nil {
		return Dir{}, fmt.Errorf("open cluster folder %s: %w", path, err)
	}
	if err := os.MkdirAll(root, 0o700); err != nil {
		return Dir{}, fmt.Errorf("open cluster folder %s: %w", path, err)
	}
	return Dir{Root: root}, nil
}

// Path joins names to the folder.
func (d Dir) Path(names ...string) string {
	return filepath.Join(append([]string{d.Root}, names...)...)
}

// Kubeconfig returns where the kubeconfig of a user lies; "admin" is the one for people and deployers.
func (d Dir) Kubeconfig(user string) string {
	if user == "admin" {
		return d.Path("admin.kubeconfig")
	}
	return d.Path("pki", user+".kubeconfig")
}

// Sockets returns a folder for unix sockets whose path is short whatever the cluster's own path is: the kernel takes 107 bytes.
func (d Dir) Sockets() string {
	sum := sha256.Sum256([]byte(d.Root))
	return filepath.Join(os.TempDir(), "slipway-devcluster-"+hex.EncodeToString(sum[:6]))
}

// MakeSockets makes the folder of Sockets, and refuses one that somebody else prepared.
func (d Dir) MakeSockets() error {
	path := d.Sockets()
	if err := os.RemoveAll(path); err != nil {
		return fmt.Errorf("clear the folder of unix sockets: %w", err)
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		return fmt.Errorf("make the folder of unix sockets: %w", err)
	}
	return nil
}

// Lock takes the folder for this process, and keeps it until the process ends or release is called. While the lock is held, the
// pid in it is the holder's.
func (d Dir) Lock() (release func(), err error) {
	f, err := os.OpenFile(d.Path("lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock cluster folder %s: %w", d.Root, err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w: %s (pid %d); stop it with devcluster down --dir %s", ErrBusy, d.Root, d.Holder(), d.Root)
		}
		return nil, fmt.Errorf("lock cluster folder %s: %w", d.Root, err)
	}
	if err := f.Truncate(0); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("lock cluster folder %s: %w", d.Root, err)
	}
	if _, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())), 0); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("lock cluster folder %s: %w", d.Root, err)
	}
	return func() { _ = f.Close() }, nil
}

// Holder returns the pid that took the lock last, or 0.
func (d Dir) Holder() int {
	b, err := os.ReadFile(d.Path("lock"))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return 0
	}
	return pid
}

// WriteReady stores ready.json in one step.
func (d Dir) WriteReady(r Ready) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encode ready.json: %w", err)
	}
	tmp := d.Path("ready.json.tmp")
	if err := os.WriteFile(tmp, append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("write ready.json: %w", err)
	}
	if err := os.Rename(tmp, d.Path("ready.json")); err != nil {
		return fmt.Errorf("write ready.json: %w", err)
	}
	return nil
}

// RemoveReady removes ready.json; a missing one is fine.
func (d Dir) RemoveReady() error {
	err := os.Remove(d.Path("ready.json"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove ready.json: %w", err)
	}
	return nil
}

// Wipe removes what a cluster keeps in its folder, but not its logs and its audit log: they are read after the end.
func (d Dir) Wipe() error {
	if err := d.RemoveReady(); err != nil {
		return err
	}
	for _, name := range []string{"etcd", "pki", "config", "admin.kubeconfig", "node.json"} {
		if err := os.RemoveAll(d.Path(name)); err != nil {
			return fmt.Errorf("remove %s of the cluster: %w", name, err)
		}
	}
	if err := os.RemoveAll(d.Sockets()); err != nil {
		return fmt.Errorf("remove the cluster's sockets: %w", err)
	}
	return nil
}
