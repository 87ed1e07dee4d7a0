// Package doctor looks at what a machine has and lacks for slipway up, and says what to
// do about it.
//
// It changes nothing, installs nothing, and dials only what it is told to.
package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// State of what was looked at.
type State string

// States.
const (
	OK      State = "ok"
	Note    State = "note"    // it works, and there is something to know
	Missing State = "missing" // slipway up, or a part of it, does not work
)

// Finding is one thing that was looked at.
type Finding struct {
	What   string `json:"what"`
	State  State  `json:"state"`
	Found  string `json:"found"`
	Remedy string `json:"remedy,omitempty"`
}

// Machine is where it looks.
type Machine struct {
	State string
	Tools string // built programs: ~/.cache/slipway/bin
	Path  string // PATH
	UID   int
	OS    string // runtime.GOOS
	Ports map[string]int
	// Running: a farm of this state folder answers, so that its ports are taken rightly.
	Running bool
	// Registry is asked whether base images can be fetched: host:port; empty: not asked.
	Registry string
	// Proxies are the proxy variables of the environment that are set.
	Proxies []string
	// Contexts are those of the kubeconfig; Kubeconfig is why there is none to read.
	Contexts   []Context
	Kubeconfig error
}

// Context is a cluster of the kubeconfig, as its API server answers now.
type Context struct {
	Name    string
	Version string // "v1.34.1"
	Exec    string // program that the kubeconfig starts for credentials
	Err     error
}

// This is the machine that the program runs on, for what does not depend on the user.
func This() Machine {
	return Machine{OS: runtime.GOOS, UID: os.Getuid()}
}

// patience with an address.
const patience = 3 * time.Second

// Look answers findings in the order of their weight.
func (m Machine) Look(ctx context.Context) []Finding {
	out := []Finding{m.system(), m.git(ctx), m.runc(), m.buildkit(), m.disk()}
	out = append(out, m.ports(ctx)...)
	out = append(out, m.registry(ctx)...)
	return append(out, m.clusters()...)
}

func (m Machine) system() Finding {
	f := Finding{What: "system", State: OK, Found: fmt.Sprintf("%s, user %d", m.OS, m.UID)}
	switch {
	case m.OS != "linux":
		f.State, f.Remedy = Missing, "BuildKit runs on Linux: use a Linux machine or virtual machine; the command line alone works here, against a farm elsewhere (SLIPWAY_ADDR)"
	case m.UID != 0:
		f.State, f.Remedy = Missing, "slipway up starts BuildKit as root: run it with sudo; rootless BuildKit is not supported yet, but worker.yaml takes the address of one"
	}
	return f
}

// find looks for a program among the built tools, then in PATH.
func (m Machine) find(name string) string {
	for _, dir := range append([]string{m.Tools}, filepath.SplitList(m.Path)...) {
		file := filepath.Join(dir, name)
		if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return file
		}
	}
	return ""
}

func (m Machine) git(ctx context.Context) Finding {
	file := m.find("git")
	if file == "" {
		return Finding{"git", Missing, "not found", "install git 2.34 or later (apt-get install git)"}
	}
	out, err := exec.CommandContext(ctx, file, "--version").Output()
	if err != nil {
		return Finding{"git", Missing, file + ": " + err.Error(), "install git again"}
	}
	return Finding{What: "git", State: OK, Found: strings.TrimPrefix(strings.TrimSpace(string(out)), "git version ")}
}

func (m Machine) runc() Finding {
	if file := m.find("runc"); file != "" {
		return Finding{What: "runc", State: OK, Found: file}
	}
	return Finding{"runc", Missing, "not found", "BuildKit runs the steps of builds with it: apt-get install runc"}
}

func (m Machine) buildkit() Finding {
	if file := m.find("buildkitd"); file != "" {
		return Finding{What: "BuildKit", State: OK, Found: file}
	}
	return Finding{"BuildKit", Missing, "not found", "make tools (in the sources of Slipway) builds buildkitd, or install it from https://github.com/moby/buildkit"}
}

// enough is the space that a first build with its bases and cache wants, in bytes.
const enough = 10 << 30

func (m Machine) disk() Finding {
	dir := m.State
	for {
		if _, err := os.Stat(dir); err == nil || dir == filepath.Dir(dir) {
			break
		}
		dir = filepath.Dir(dir)
	}
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		return Finding{"disk", Note, dir + ": " + err.Error(), "see that " + m.State + " can be written"}
	}
	free := fs.Bavail * uint64(fs.Bsize)
	f := Finding{What: "disk", State: OK, Found: fmt.Sprintf("%d GiB free for %s", free>>30, m.State)}
	if free < enough {
		f.State, f.Remedy = Note, fmt.Sprintf("builds and their cache want %d GiB: free some, or put the state elsewhere with --state", enough>>30)
	}
	return f
}

func (m Machine) ports(ctx context.Context) []Finding {
	if m.Running {
		return []Finding{{What: "farm", State: OK, Found: "it runs, and answers"}}
	}
	var taken []string
	for name, port := range m.Ports {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			taken = append(taken, fmt.Sprintf("%d (%s)", port, name))
			continue
		}
		_ = l.Close()
	}
	if len(taken) > 0 {
		slices.Sort(taken)
		return []Finding{{"ports", Missing, "taken: " + strings.Join(taken, ", "), "stop what listens there (ss -ltnp), perhaps another slipway up"}}
	}
	return []Finding{{What: "ports", State: OK, Found: "free"}}
}

func (m Machine) registry(ctx context.Context) []Finding {
	var out []Finding
	if m.Registry != "" {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", m.Registry)
		if err != nil {
			out = append(out, Finding{"base images", Note, m.Registry + " cannot be reached: " + cause(err), "with a registry of your own, name it in FROM; " +
				"without any, slipway images bootstrap --for FOLDER (once the farm is up) makes stand-ins for the bases of the Dockerfiles there from what this machine has"})
		} else {
			_ = conn.Close()
			out = append(out, Finding{What: "base images", State: OK, Found: m.Registry + " can be reached"})
		}
	}
	if len(m.Proxies) > 0 {
		out = append(out, Finding{"proxy", Note, strings.Join(m.Proxies, ", ") + " set",
			"BuildKit uses it to fetch images; steps of builds (RUN) see it, and the proxy's certificates, only when the Dockerfile brings them"})
	}
	return out
}

func cause(err error) string {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err.Error()
	}
	return err.Error()
}

func (m Machine) clusters() []Finding {
	if m.Kubeconfig != nil {
		return []Finding{{"clusters", Note, m.Kubeconfig.Error(), "correct the kubeconfig, or name another one with --kubeconfig"}}
	}
	if len(m.Contexts) == 0 {
		return []Finding{{"clusters", Note, "the kubeconfig names none", "builds and tests need no cluster; to roll out, slipway up --dev-clusters starts some on this machine, or make a kubeconfig, e.g. with kind create cluster"}}
	}
	out := make([]Finding, 0, len(m.Contexts))
	for _, c := range m.Contexts {
		f := Finding{What: "cluster " + c.Name, State: OK, Found: c.Version}
		if c.Err != nil {
			f.State, f.Found = Note, c.Err.Error()
			f.Remedy = "see that it runs and that kubectl --context " + c.Name + " version works, if you want to roll out there"
		}
		if c.Exec != "" {
			f.Found = strings.TrimPrefix(f.Found+"; credentials from "+c.Exec, "; ")
			if f.State == OK {
				f.State = Note
			}
			f.Remedy = "a deployer runs " + c.Exec + " only when it may: slipway up --allow-exec, or allow_exec: true for the cluster in deployer.yaml"
		}
		out = append(out, f)
	}
	return out
}
