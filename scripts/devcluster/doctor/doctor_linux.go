package doctor

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// Check answers every question.
func Check(o Options) []Finding {
	findings := []Finding{
		{Name: "linux", OK: true, Detail: "linux/" + runtime.GOARCH},
		root(),
		program("runc", "install the package runc"),
		program("nft", "install the package nftables: kube-proxy and nothing else uses it"),
		cgroups(),
		overlay(),
		namespaces(),
		links(),
	}
	if o.Bin != "" {
		findings = append(findings, programs(o.Bin))
	}
	return findings
}

func root() Finding {
	uid := os.Geteuid()
	return Finding{Name: "root", OK: uid == 0, Detail: fmt.Sprintf("user id %d", uid), Fix: "run as root, or use --kind kwok"}
}

func program(name, fix string) Finding {
	path, err := exec.LookPath(name)
	if err != nil {
		return Finding{Name: name, Detail: "not found", Fix: fix}
	}
	return Finding{Name: name, OK: true, Detail: path}
}

func cgroups() Finding {
	f := Finding{Name: "cgroup", Fix: "mount the cgroup hierarchies below /sys/fs/cgroup with the controllers cpu, memory and pids"}
	b, err := os.ReadFile("/sys/fs/cgroup/cgroup.controllers")
	if err == nil {
		have := strings.Fields(string(b))
		f.OK = contains(have, "cpu", "memory", "pids")
		f.Detail = "version 2: " + strings.Join(have, " ")
		return f
	}
	entries, err := os.ReadDir("/sys/fs/cgroup")
	if err != nil {
		f.Detail = err.Error()
		return f
	}
	var have []string
	for _, e := range entries {
		have = append(have, e.Name())
	}
	f.OK = contains(have, "cpu", "memory", "pids", "devices", "freezer")
	f.Detail = "version 1: " + strings.Join(have, " ")
	return f
}

func contains(have []string, want ...string) bool {
	all := " " + strings.Join(have, " ") + " "
	for _, w := range want {
		if !strings.Contains(all, " "+w+" ") {
			return false
		}
	}
	return true
}

func overlay() Finding {
	f := Finding{Name: "overlayfs", Fix: "load the kernel module overlay"}
	b, err := os.ReadFile("/proc/filesystems")
	if err != nil {
		f.Detail = err.Error()
		return f
	}
	if strings.Contains(string(b), "\toverlay\n") {
		f.OK, f.Detail = true, "known to the kernel"
	} else {
		f.Detail = "not known to the kernel"
	}
	return f
}

func namespaces() Finding {
	f := Finding{Name: "namespaces", OK: true, Detail: "net, mnt, pid", Fix: "use a kernel with these namespaces"}
	for _, kind := range []string{"net", "mnt", "pid"} {
		if _, err := os.Stat(filepath.Join("/proc/self/ns", kind)); err != nil {
			f.OK, f.Detail = false, err.Error()
		}
	}
	return f
}

// links makes a bridge and a veth pair in a network namespace that is thrown away.
func links() Finding {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends in the namespace
		ns, err := netns.New()
		if err != nil {
			done <- fmt.Errorf("make a network namespace: %w", err)
			return
		}
		veth := netlink.NewVeth(netlink.LinkAttrs{Name: "probe0"})
		veth.PeerName = "probe1"
		err = errors.Join(
			wrap("make a bridge", netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "probe2"}})),
			wrap("make a veth pair", netlink.LinkAdd(veth)),
		)
		done <- errors.Join(err, ns.Close())
	}()
	f := Finding{Name: "links", Fix: "load the kernel modules bridge and veth, and run with the capabilities NET_ADMIN and SYS_ADMIN"}
	if err := <-done; err != nil {
		f.Detail = strings.ReplaceAll(err.Error(), "\n", "; ")
		return f
	}
	f.OK, f.Detail = true, "a network namespace, a bridge and a veth pair can be made"
	return f
}

func wrap(what string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

func programs(bin string) Finding {
	var missing []string
	for _, name := range Programs() {
		if _, err := os.Stat(filepath.Join(bin, name)); err != nil {
			missing = append(missing, name)
		}
	}
	f := Finding{Name: "programs", OK: len(missing) == 0, Detail: "all in " + bin, Fix: "build them as build.json says, or name their folder with --bin"}
	if !f.OK {
		f.Detail = "not in " + bin + ": " + strings.Join(missing, " ")
	}
	return f
}
