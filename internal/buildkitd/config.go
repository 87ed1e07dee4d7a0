package buildkitd

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// maxSocketPath is what a Unix socket's address can hold on Linux, less the final zero byte.
const maxSocketPath = 107

// Config describes one daemon. The zero value of a field has the meaning given there; only Root is required.
type Config struct {
	// Path of the buildkitd program. Empty: the one on PATH, else the one in ToolDir.
	Path string
	// ToolDir is where Slipway keeps the tools that it builds, ~/.cache/slipway/bin.
	ToolDir string
	// Root keeps the build cache and the daemon's state. Only one daemon may use it.
	Root string
	// Socket is the path of the Unix socket to listen on; empty: Root/buildkitd.sock.
	Socket string
	// Registries says how to reach registries that need more than HTTPS with a public certificate.
	Registries []Registry
	// GC limits the build cache.
	GC GC
	// Parallelism is how many build steps may run at once; 0: no limit.
	Parallelism int
	// Env is the daemon's environment; nil: that of this process. OTEL_EXPORTER_OTLP_ENDPOINT makes it export spans.
	Env []string
	// LogFile takes the daemon's own log; empty: Root/buildkitd.log.
	LogFile string
	// Log receives starts, ends and restarts; nil discards them.
	Log *slog.Logger
}

// Registry is how the daemon talks to one registry host.
type Registry struct {
	// Host as image names spell it: "docker.io", "127.0.0.1:7423".
	Host string
	// PlainHTTP is for registries on loopback.
	PlainHTTP bool
	// CAFile is a PEM file of certificate authorities to trust besides the system's.
	CAFile string
	// Mirrors are asked first, each "host[:port][/path]". An image that none has is fetched from Host.
	Mirrors []string
}

// GC limits the build cache. A size is "20GB" or a share of the disk, "10%". Without limits BuildKit keeps a fifth of
// the disk free, which on a large disk that is nearly full would throw away every cache entry.
type GC struct {
	ReservedSpace string // never collected below this; empty: 5GB
	MaxUsedSpace  string // always collected above this; empty: 40GB
	MinFreeSpace  string // collected while less is free on the disk; empty: 2GB
}

func (c Config) withDefaults() (Config, error) {
	if c.Root == "" {
		return c, errors.New("buildkitd: no folder given for the build cache")
	}
	root, err := filepath.Abs(c.Root)
	if err != nil {
		return c, fmt.Errorf("buildkitd root: %w", err)
	}
	c.Root = root
	c.Socket = cmp.Or(c.Socket, filepath.Join(root, "buildkitd.sock"))
	if len(c.Socket) > maxSocketPath {
		return c, fmt.Errorf("buildkitd socket %s: the path has %d bytes, the system allows %d; choose a shorter state folder",
			c.Socket, len(c.Socket), maxSocketPath)
	}
	c.LogFile = cmp.Or(c.LogFile, filepath.Join(root, "buildkitd.log"))
	c.GC.ReservedSpace = cmp.Or(c.GC.ReservedSpace, "5GB")
	c.GC.MaxUsedSpace = cmp.Or(c.GC.MaxUsedSpace, "40GB")
	c.GC.MinFreeSpace = cmp.Or(c.GC.MinFreeSpace, "2GB")
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c, nil
}

// find looks for the buildkitd program where Config says.
func find(path, toolDir string) (string, error) {
	if path != "" {
		if err := executable(path); err != nil {
			return "", fmt.Errorf("buildkitd at %s: %w", path, err)
		}
		return path, nil
	}
	if found, err := exec.LookPath("buildkitd"); err == nil {
		return found, nil
	}
	if toolDir != "" {
		if built := filepath.Join(toolDir, "buildkitd"); executable(built) == nil {
			return built, nil
		}
	}
	return "", fmt.Errorf("buildkitd is neither on PATH nor in %s: run `make tools` to build it, or install BuildKit",
		cmp.Or(toolDir, "a tool folder"))
}

// findRunc looks where Debian and others put it too, since PATH of an ordinary user lacks the sbin folders.
func findRunc() (string, error) {
	if found, err := exec.LookPath("runc"); err == nil {
		return filepath.Abs(found)
	}
	for _, dir := range []string{"/usr/local/sbin", "/usr/sbin", "/usr/local/bin", "/usr/bin"} {
		if path := filepath.Join(dir, "runc"); executable(path) == nil {
			return path, nil
		}
	}
	return "", errors.New("runc was not found, and BuildKit runs build steps with it: " +
		"install the package runc (Debian and Ubuntu: apt-get install runc)")
}

func executable(path string) error {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return err
	case !info.Mode().IsRegular() || info.Mode()&0o111 == 0:
		return errors.New("not an executable file")
	default:
		return nil
	}
}

// cgroup is the parent of every build step's cgroup. It is named after the root, so that what a killed daemon left
// running can be told from the steps of other daemons.
func cgroup(root string) string {
	return fmt.Sprintf("slipway-%x", sha256.Sum256([]byte(root)))[:24]
}

// toml is the daemon's configuration file. Strings are written as Go quotes them, which TOML reads for what occurs in
// paths and host names.
func (c Config) toml(runc string) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("# Written by Slipway at %s; changes are lost.", c.Root)
	line("root = %q", c.Root)
	line("[log]\n  format = \"text\"\n  level = \"info\"")
	line("[grpc]\n  address = [%q]", "unix://"+c.Socket)
	line("[otel]\n  socketPath = %q", filepath.Join(c.Root, "otel.sock"))
	line("[history]\n  maxAge = %d\n  maxEntries = 500", int((48 * time.Hour).Seconds()))
	line("[worker.containerd]\n  enabled = false")
	line("[worker.oci]\n  enabled = true\n  rootless = false\n  gc = true")
	line("  binary = %q\n  defaultCgroupParent = %q", runc, cgroup(c.Root))
	line("  reservedSpace = %q\n  maxUsedSpace = %q\n  minFreeSpace = %q",
		c.GC.ReservedSpace, c.GC.MaxUsedSpace, c.GC.MinFreeSpace)
	if c.Parallelism > 0 {
		line("  max-parallelism = %d", c.Parallelism)
	}
	for _, r := range c.Registries {
		line("[registry.%q]", r.Host)
		if r.PlainHTTP {
			line("  http = true")
		}
		if r.CAFile != "" {
			line("  ca = [%q]", r.CAFile)
		}
		if len(r.Mirrors) > 0 {
			quoted := make([]string, len(r.Mirrors))
			for i, m := range r.Mirrors {
				quoted[i] = strconv.Quote(m)
			}
			line("  mirrors = [%s]", strings.Join(quoted, ", "))
		}
	}
	return b.String()
}
