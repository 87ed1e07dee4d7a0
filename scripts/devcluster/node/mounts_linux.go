package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// sysctls are the machine-wide settings that the kubelet insists on, with the values it wants to see.
func sysctls() map[string]string {
	return map[string]string{
		"vm/overcommit_memory":      "1",
		"vm/panic_on_oom":           "0",
		"kernel/panic":              "10",
		"kernel/panic_on_oops":      "1",
		"kernel/keys/root_maxkeys":  "1000000",
		"kernel/keys/root_maxbytes": "25000000",
	}
}

// privateFolders are paths that containerd, runc and the kubelet cannot be talked out of. The init sees an empty memory file
// system at each.
func privateFolders() []string {
	return []string{"/run/containerd", "/var/lib/cni", "/var/log/containers"}
}

// MakeMountPoints makes the folders of privateFolders where they are missing. They stay: removing a folder would also remove
// what another node has mounted on it.
func MakeMountPoints() error {
	for _, path := range privateFolders() {
		if err := os.MkdirAll(path, 0o755); err != nil {
			return fmt.Errorf("make mount point: %w", err)
		}
	}
	return nil
}

// isolate turns the init's copy of the mounts into its own, before anything else is done. From the host new mounts still come
// in; none go out.
func isolate(state string) error {
	if os.Getpid() != 1 {
		return errors.New("this is not the first process of a namespace of its own: it is started by devcluster up, not by hand")
	}
	for _, flag := range []uintptr{unix.MS_SLAVE, unix.MS_SHARED} {
		if err := unix.Mount("", "/", "", unix.MS_REC|flag, ""); err != nil {
			return fmt.Errorf("keep the node's mounts to itself: %w", err)
		}
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc of the node: %w", err)
	}
	for _, path := range privateFolders() {
		if err := unix.Mount("tmpfs", path, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755"); err != nil {
			return fmt.Errorf("mount %s of the node: %w", path, err)
		}
	}
	return coverSysctls(filepath.Join(state, "sysctl"))
}

// coverSysctls puts a file over each of sysctls.
func coverSysctls(state string) error {
	for name, value := range sysctls() {
		target := filepath.Join("/proc/sys", name)
		if _, err := os.Stat(target); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		file := filepath.Join(state, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			return fmt.Errorf("cover sysctl %s: %w", name, err)
		}
		if err := os.WriteFile(file, []byte(value+"\n"), 0o600); err != nil {
			return fmt.Errorf("cover sysctl %s: %w", name, err)
		}
		if err := unix.Mount(file, target, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("cover sysctl %s: %w", name, err)
		}
	}
	return nil
}
