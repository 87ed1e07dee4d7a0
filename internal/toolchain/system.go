package toolchain

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// SystemPackage is what only the system's package manager can provide.
type SystemPackage struct {
	Name    string // Debian's name for it
	Program string // it is there when this program is
	Why     string // to follow "for"
}

// SystemPackages lists what a set needs from the system.
func SystemPackages(set Set) []SystemPackage {
	npm := SystemPackage{"npm", "npm", "installing buf"}
	if set == Lint {
		return []SystemPackage{npm}
	}
	list := []SystemPackage{{"git", "git", "reading repositories"}}
	if runtime.GOOS == "linux" {
		list = append(list,
			SystemPackage{"runc", "runc", "running build steps and pods"},
			SystemPackage{"busybox-static", "busybox", "base images where no registry can be reached"},
			SystemPackage{"iproute2", "ip", "the network of a real node"},
			SystemPackage{"nftables", "nft", "Services on a real node"},
			SystemPackage{"nodejs", "node", "the Node services of examples/shop"},
			SystemPackage{"python3", "python3", "the Python services of examples/shop"},
			SystemPackage{"redis-tools", "redis-check-rdb", "the Redis of examples/shop, without a service of the system"},
		)
	}
	if set == Test || set == E2E {
		list = append(list, SystemPackage{"gcc", "gcc", "the race detector"}, SystemPackage{"redis-server", "redis-server", "tests against a real Redis"},
			SystemPackage{"prometheus", "prometheus", "tests against a real Prometheus"})
	}
	if set == E2E {
		list = append(list, SystemPackage{"chromium", "chromium", "looking at the dashboard"})
	}
	return list
}

// Missing are those whose program is not there.
func Missing(list []SystemPackage) []SystemPackage {
	return slices.DeleteFunc(slices.Clone(list), func(p SystemPackage) bool { return installed(p.Program) })
}

// installed looks in the sbin folders too, which an ordinary user's PATH lacks.
func installed(program string) bool {
	if _, err := exec.LookPath(program); err == nil {
		return true
	}
	for _, dir := range []string{"/usr/local/sbin", "/usr/sbin", "/sbin"} {
		if info, err := os.Stat(filepath.Join(dir, program)); err == nil && info.Mode()&0o111 != 0 {
			return true
		}
	}
	return false
}

// ErrNotAllowed means that system packages are missing and nobody allowed to install them. Programs exit with 2.
var ErrNotAllowed = errors.New("system packages are missing")

// Consent says whether system packages may be installed.
type Consent struct {
	Given bool      // YES=1 or CI
	Ask   io.Reader // a terminal to ask at; nil: nobody is there
}

// Install installs the packages with apt after consent. Without consent it returns an error that is ErrNotAllowed and
// names them.
func Install(ctx context.Context, missing []SystemPackage, consent Consent, out io.Writer) error {
	if len(missing) == 0 {
		return nil
	}
	var names []string
	for _, p := range missing {
		names = append(names, p.Name)
		fmt.Fprintf(out, "needs the system package %s, for %s\n", p.Name, p.Why)
	}
	args := append([]string{"apt-get", "install", "-y", "--no-install-recommends"}, names...)
	if os.Geteuid() != 0 {
		args = append([]string{"sudo"}, args...)
	}
	command := strings.Join(args, " ")
	if _, err := exec.LookPath("apt-get"); err != nil {
		return fmt.Errorf("%w: install %s with your package manager (the names are Debian's)", ErrNotAllowed, strings.Join(names, ", "))
	}
	if !consent.Given && !ask(consent.Ask, out, command) {
		return fmt.Errorf("%w: %s; run `%s`, or set YES=1 to have it run", ErrNotAllowed, strings.Join(names, ", "), command)
	}
	update := slices.Clone(args[:slices.Index(args, "apt-get")+1])
	for _, line := range [][]string{append(update, "update"), args} {
		fmt.Fprintf(out, "runs %s\n", strings.Join(line, " "))
		cmd := exec.CommandContext(ctx, line[0], line[1:]...)
		cmd.Env = append(cmd.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if log, err := cmd.CombinedOutput(); err != nil {
			tail := lastLines{text: log}
			return fmt.Errorf("%s: %w\n%s", strings.Join(line, " "), err, tail.String())
		}
	}
	if left := Missing(missing); len(left) > 0 {
		return fmt.Errorf("the package %s was installed, but there is no program %s", left[0].Name, left[0].Program)
	}
	return nil
}

// ask asks once; anything but yes is no.
func ask(in io.Reader, out io.Writer, command string) bool {
	if in == nil {
		return false
	}
	fmt.Fprintf(out, "Run `%s`? [y/N] ", command)
	answer, err := bufio.NewReader(in).ReadString('\n')
	if err != nil {
		return false
	}
	answer = strings.ToLower(strings.TrimSpace(answer))
	return answer == "y" || answer == "yes"
}
