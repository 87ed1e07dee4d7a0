package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// hierarchies returns where the cgroup hierarchies are mounted: several of version 1, or one of version 2.
func hierarchies() (v1, v2 []string, err error) {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, nil, fmt.Errorf("look for cgroups: %w", err)
	}
	for line := range strings.Lines(string(b)) {
		before, after, ok := strings.Cut(line, " - ")
		fields := strings.Fields(before)
		if !ok || len(fields) < 5 {
			continue
		}
		switch kind, _, _ := strings.Cut(after, " "); kind {
		case "cgroup":
			v1 = append(v1, fields[4])
		case "cgroup2":
			v2 = append(v2, fields[4])
		}
	}
	return v1, v2, nil
}

// MakeCgroups makes a cgroup in every hierarchy, ready for the kubelet to make its own below.
func MakeCgroups(name string) error {
	v1, v2, err := hierarchies()
	if err != nil {
		return err
	}
	for _, root := range append(v1, v2...) {
		path := filepath.Join(root, name)
		if err := os.Mkdir(path, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("make cgroup: %w", err)
		}
		// A new cpuset of version 1 is empty, and no process can be put into it.
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			b, err := os.ReadFile(filepath.Join(root, file))
			if err != nil {
				continue
			}
			if err := os.WriteFile(filepath.Join(path, file), b, 0); err != nil {
				return fmt.Errorf("set up cgroup %s: %w", path, err)
			}
		}
	}
	for _, root := range v2 {
		if err := delegate(root, filepath.Join(root, name)); err != nil {
			return err
		}
	}
	return nil
}

// delegate passes every controller that version 2 has on to a cgroup. On a hybrid machine it has none.
func delegate(root, path string) error {
	b, err := os.ReadFile(filepath.Join(root, "cgroup.controllers"))
	if err != nil {
		return fmt.Errorf("read cgroup controllers: %w", err)
	}
	for _, controller := range strings.Fields(string(b)) {
		for _, dir := range []string{root, path} {
			err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+controller), 0)
			if err != nil && (controller == "cpu" || controller == "memory" || controller == "pids") {
				return fmt.Errorf("pass cgroup controller %s on to %s: %w", controller, dir, err)
			}
		}
	}
	return nil
}

// RemoveCgroups removes a cgroup and everything below it in every hierarchy. It waits a little for processes to be gone.
func RemoveCgroups(ctx context.Context, name string) error {
	v1, v2, err := hierarchies()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for _, root := range append(v1, v2...) {
		path := filepath.Join(root, name)
		err := poll(ctx, "cgroup "+path+" to be empty", func(context.Context) error { return removeTree(path) })
		if err != nil {
			return err
		}
	}
	return nil
}

func removeTree(path string) error {
	entries, err := os.ReadDir(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeTree(filepath.Join(path, e.Name())); err != nil {
				return err
			}
		}
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
