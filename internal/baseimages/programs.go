package baseimages

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// pythonPlace asks an interpreter where it is and where its standard library is.
const pythonPlace = `import json, os, platform, sys, sysconfig
print(json.dumps([os.path.realpath(sys.executable), sysconfig.get_path("stdlib"), platform.python_version()]))`

// findPython returns the program itself, not a link or a shim, its standard library and its version; empty when there
// is none.
func findPython(ctx context.Context) (program, library, version string) {
	out, err := exec.CommandContext(ctx, "python3", "-I", "-c", pythonPlace).Output()
	if err != nil {
		return "", "", ""
	}
	var found [3]string
	if json.Unmarshal(out, &found) != nil {
		return "", "", ""
	}
	return found[0], found[1], found[2]
}

func python(base recipe, s sources) (recipe, error) {
	hash, err := hashFile(s.python)
	if err != nil {
		return recipe{}, fmt.Errorf("python base image: %w", err)
	}
	r := base
	r.repository = "library/python"
	r.tags = versionTags(s.pythonVersion, 2, "", "-alpine", "-slim", "-slim-bookworm", "-bookworm")
	r.description = fmt.Sprintf("Python %s of this machine with its standard library and their C libraries over busybox; "+
		"without pip, git, a C compiler and package managers of the system", s.pythonVersion)
	r.inputs = append(slices.Clone(base.inputs), "python "+s.pythonVersion+" "+s.pythonLibrary+" "+hash)
	r.env = append([]string{searchPath, "LANG=C.UTF-8", "PYTHON_VERSION=" + s.pythonVersion}, caEnv()...)
	r.cmd = []string{"python3"}
	name := path.Base(s.pythonLibrary) // python3.11
	r.fill = append(slices.Clone(base.fill), func(ctx context.Context, t *tree) error {
		if err := t.program(ctx, "/usr/local/bin/"+name, s.python); err != nil {
			return err
		}
		for _, link := range []string{"python3", "python"} {
			t.link("/usr/local/bin/"+link, name)
		}
		for _, tool := range []string{"pip", "pip3"} {
			t.file("/usr/local/bin/"+tool, 0o755, noPackages)
		}
		if err := t.extensions(ctx, filepath.Join(s.pythonLibrary, "lib-dynload")); err != nil {
			return err
		}
		return t.copy("/usr/local/lib/"+name, s.pythonLibrary, skipPython)
	})
	return r, nil
}

// skipPython leaves out what was installed beside the standard library, and what no service needs of it.
func skipPython(rel string, e fs.DirEntry) bool {
	if !e.IsDir() {
		return strings.HasSuffix(rel, ".pyc") || strings.HasSuffix(rel, ".a")
	}
	switch e.Name() {
	case "__pycache__", "site-packages", "dist-packages", "test", "tests", "idlelib", "tkinter", "turtledemo", "ensurepip":
		return true
	}
	return strings.HasPrefix(rel, "config-")
}

// extensions takes the libraries that a folder's shared objects load. An object whose libraries this machine lacks
// cannot be loaded here either, and brings nothing.
func (t *tree) extensions(ctx context.Context, dir string) error {
	objects, err := filepath.Glob(filepath.Join(dir, "*.so"))
	if err != nil {
		return err
	}
	for _, object := range objects {
		libs, err := libraries(ctx, object)
		if err != nil {
			continue
		}
		for _, lib := range libs {
			if err := t.from(lib, lib, 0o755); err != nil {
				return err
			}
		}
	}
	return nil
}

// findRedis looks for the server under both of its names: Debian's redis-tools has it without the service that the
// package redis-server would start.
func findRedis() string {
	for _, name := range []string{"redis-server", "redis-check-rdb"} {
		if p, err := exec.LookPath(name); err == nil {
			if p, err = filepath.EvalSymlinks(p); err == nil {
				return p
			}
		}
	}
	return ""
}

func redis(ctx context.Context, base recipe, s sources) (recipe, error) {
	// The program goes by the name it is called with.
	cmd := exec.CommandContext(ctx, s.redis, "--version")
	cmd.Args[0] = "redis-server"
	out, err := cmd.Output()
	if err != nil {
		return recipe{}, fmt.Errorf("redis base image: %s --version: %w", s.redis, err)
	}
	m := regexp.MustCompile(`v=([0-9.]+)`).FindSubmatch(out)
	if m == nil {
		return recipe{}, fmt.Errorf("redis base image: %s --version says %q", s.redis, out)
	}
	version := string(m[1])
	hash, err := hashFile(s.redis)
	if err != nil {
		return recipe{}, fmt.Errorf("redis base image: %w", err)
	}
	r := base
	r.repository = "library/redis"
	r.tags = versionTags(version, 1, "", "-alpine", "-bookworm")
	r.description = fmt.Sprintf("Redis %s of this machine with its C libraries over busybox; without modules", version)
	r.inputs = append(slices.Clone(base.inputs), "redis "+version+" "+hash)
	r.env = append([]string{searchPath, "REDIS_VERSION=" + version}, caEnv()...)
	// As the official image does: who can reach a container's port was let in by whoever runs it.
	r.cmd, r.workdir = []string{"redis-server", "--protected-mode", "no"}, "/data"
	cli, _ := exec.LookPath("redis-cli")
	r.fill = append(slices.Clone(base.fill), func(ctx context.Context, t *tree) error {
		t.file("/etc/passwd", 0o644, passwd+"redis:x:999:999::/data:/bin/sh\n")
		t.file("/etc/group", 0o644, groups+"redis:x:999:\n")
		t.owned("/data", 0o755, 999)
		if cli != "" {
			if err := t.program(ctx, "/usr/local/bin/redis-cli", cli); err != nil {
				return err
			}
		}
		return t.program(ctx, "/usr/local/bin/redis-server", s.redis)
	})
	return r, nil
}

func git(ctx context.Context, base recipe, s sources) (recipe, error) {
	out, err := exec.CommandContext(ctx, s.git, "--version").Output()
	if err != nil {
		return recipe{}, fmt.Errorf("git base image: %s --version: %w", s.git, err)
	}
	version := regexp.MustCompile(`[0-9]+\.[0-9]+\.[0-9]+`).FindString(string(out))
	if version == "" {
		return recipe{}, fmt.Errorf("git base image: %s --version says %q", s.git, out)
	}
	out, err = exec.CommandContext(ctx, s.git, "--exec-path").Output()
	if err != nil {
		return recipe{}, fmt.Errorf("git base image: %s --exec-path: %w", s.git, err)
	}
	hash, err := hashFile(s.git)
	if err != nil {
		return recipe{}, fmt.Errorf("git base image: %w", err)
	}
	parts := strings.TrimSpace(string(out))
	r := base
	r.repository = "alpine/git"
	r.tags = []string{"latest", version, "v" + version}
	r.description = fmt.Sprintf("git %s of this machine with its C libraries over busybox; over https and files, without ssh, perl and LFS", version)
	r.inputs = append(slices.Clone(base.inputs), "git "+version+" "+parts+" "+hash)
	r.cmd, r.workdir = []string{"git", "--help"}, "/git"
	r.fill = append(slices.Clone(base.fill), func(ctx context.Context, t *tree) error {
		t.dir("/git", 0o777)
		if err := t.program(ctx, path.Join(parts, "git-remote-http"), filepath.Join(parts, "git-remote-http")); err != nil {
			return err
		}
		t.link(path.Join(parts, "git-remote-https"), "git-remote-http")
		for _, name := range []string{"git", "git-upload-pack", "git-receive-pack", "git-upload-archive"} {
			t.link(path.Join(parts, name), "/usr/bin/git")
		}
		return t.program(ctx, "/usr/bin/git", s.git)
	})
	return r, nil
}

// candidate is an image that is made where its program is on this machine.
type candidate struct {
	repository, lacks string // what is said when there is none
	there             bool
	recipe            func() (recipe, error)
}

func (s sources) candidates(ctx context.Context, base recipe) []candidate {
	return []candidate{
		{"library/golang", "no Go installation was found", s.goroot != "", func() (recipe, error) { return golang(base, s) }},
		{"library/node", "no node program was found on PATH", s.node != "", func() (recipe, error) { return node(ctx, base, s) }},
		{"library/python", "no python3 program was found on PATH", s.python != "", func() (recipe, error) { return python(base, s) }},
		{"library/redis", "no redis-server program was found on PATH (Debian and Ubuntu: apt-get install redis-tools)", s.redis != "",
			func() (recipe, error) { return redis(ctx, base, s) }},
		{"alpine/git", "no git program was found on PATH", s.git != "", func() (recipe, error) { return git(ctx, base, s) }},
	}
}
