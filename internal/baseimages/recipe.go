package baseimages

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// recipeVersion is part of every image's inputs: raise it when a recipe changes.
const recipeVersion = "1"

// recipe is one image: what it is called, what it is made of, and how it is configured.
type recipe struct {
	host        string   // empty: docker.io
	repository  string   // "library/golang"
	also        []string // further repositories with the same image
	user        string   // that it runs as; empty: root
	tags        []string // the first is the one that Record names
	description string
	inputs      []string // what the content depends on; equal inputs, equal content
	env         []string
	cmd         []string
	workdir     string
	fill        []func(context.Context, *tree) error // one per layer
}

// sources are the files on this machine that images are made from. An empty path leaves its images out.
type sources struct {
	busybox, node, npm, goroot, caBundle, redis, git string

	python, pythonLibrary, pythonVersion string // the interpreter and its standard library
}

const searchPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// caEnv makes programs find the bundle whose authorities the machine trusts, a private one among them, so that a proxy
// which this machine trusts is trusted in build steps too.
func caEnv() []string {
	return []string{"SSL_CERT_FILE=" + caPath, "NODE_EXTRA_CA_CERTS=" + caPath}
}

const caPath = "/etc/ssl/certs/ca-certificates.crt"

// recipes lists the images that can be made from the sources. Names that cannot be made are returned with the reason.
func recipes(ctx context.Context, s sources) (list []recipe, missing []string, err error) {
	base, version, err := baseInputs(ctx, s)
	if err != nil {
		return nil, nil, err
	}
	rootfs := func(ctx context.Context, t *tree) error { return fillRoot(ctx, t, s) }
	common := append([]string{searchPath}, caEnv()...)
	small := recipe{
		inputs: base, env: common, cmd: []string{"/bin/sh"}, workdir: "/",
		fill: []func(context.Context, *tree) error{rootfs},
	}
	busybox, alpine := small, small
	busybox.repository, busybox.tags = "library/busybox", []string{"1.36", "stable", "latest"}
	busybox.description = version + " of this machine with its CA certificates"
	alpine.repository, alpine.tags = "library/alpine", []string{"3.22", "3.21", "3", "latest"}
	alpine.description = version + " of this machine with its CA certificates; without apk, musl and packages"
	list = append(list, busybox, alpine)
	list = append(list, distroless(small, s)...)

	for _, c := range s.candidates(ctx, small) {
		if !c.there {
			missing = append(missing, c.repository+": "+c.lacks)
			continue
		}
		r, err := c.recipe()
		if err != nil {
			return nil, nil, err
		}
		list = append(list, r)
	}
	return list, missing, nil
}

func golang(base recipe, s sources) (recipe, error) {
	content, err := os.ReadFile(filepath.Join(s.goroot, "VERSION"))
	if err != nil {
		return recipe{}, fmt.Errorf("golang base image: %s is no Go installation: %w", s.goroot, err)
	}
	first, _, _ := strings.Cut(string(content), "\n")
	version := strings.TrimPrefix(strings.TrimSpace(first), "go")
	r := base
	r.repository = "library/golang"
	r.tags = versionTags(version, 2, "", "-alpine", "-bookworm")
	r.description = fmt.Sprintf("Go %s of this machine over busybox; without git, a C compiler and package managers", version)
	r.inputs = append(slices.Clone(base.inputs), "go "+string(content))
	r.env = append([]string{
		"PATH=/go/bin:/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"GOPATH=/go", "GOTOOLCHAIN=local", "GOLANG_VERSION=" + version,
	}, caEnv()...)
	r.workdir = "/go"
	r.fill = append(slices.Clone(base.fill), func(ctx context.Context, t *tree) error {
		t.dir("/go/src", 0o777)
		t.dir("/go/bin", 0o777)
		if err := t.program(ctx, "/usr/local/go/bin/go", filepath.Join(s.goroot, "bin", "go")); err != nil {
			return err
		}
		return t.copy("/usr/local/go", s.goroot, skipGo)
	})
	return r, nil
}

// skipGo leaves out what compiling and testing other modules never reads: about half of the installation.
func skipGo(rel string, e fs.DirEntry) bool {
	if e.IsDir() {
		switch rel {
		case "test", "doc", "api", "misc":
			return true
		}
		return e.Name() == "testdata"
	}
	return strings.HasSuffix(rel, "_test.go")
}

func node(ctx context.Context, base recipe, s sources) (recipe, error) {
	out, err := exec.CommandContext(ctx, s.node, "--version").Output()
	if err != nil {
		return recipe{}, fmt.Errorf("node base image: %s --version: %w", s.node, err)
	}
	version := strings.TrimPrefix(strings.TrimSpace(string(out)), "v")
	hash, err := hashFile(s.node)
	if err != nil {
		return recipe{}, fmt.Errorf("node base image: %w", err)
	}
	r := base
	r.repository = "library/node"
	r.tags = versionTags(version, 1, "", "-alpine", "-slim", "-bookworm-slim")
	r.description = fmt.Sprintf("Node %s of this machine with its C libraries over busybox; without bash, git, yarn, "+
		"a C compiler and package managers of the system", version)
	r.inputs = append(slices.Clone(base.inputs), "node "+version+" "+hash)
	r.env = append([]string{searchPath, "NODE_VERSION=" + version}, caEnv()...)
	r.cmd = []string{"node"}
	r.fill = append(slices.Clone(base.fill), func(ctx context.Context, t *tree) error {
		t.file("/etc/passwd", 0o644, passwd+"node:x:1000:1000::/home/node:/bin/sh\n")
		t.file("/etc/group", 0o644, groups+"node:x:1000:\n")
		t.owned("/home/node", 0o755, 1000)
		if err := t.program(ctx, "/usr/local/bin/node", s.node); err != nil {
			return err
		}
		if s.npm == "" {
			return nil
		}
		for _, name := range []string{"npm", "npx"} {
			t.link("/usr/local/bin/"+name, "../lib/node_modules/npm/bin/"+name+"-cli.js")
		}
		return t.copy("/usr/local/lib/node_modules/npm", s.npm, func(rel string, e fs.DirEntry) bool {
			return e.IsDir() && (rel == "docs" || rel == "man")
		})
	})
	if s.npm == "" {
		r.description += "; without npm"
	} else {
		r.inputs = append(r.inputs, "npm "+s.npm)
	}
	return r, nil
}

// versionTags are the tags people use for a version: 1.26, 1.26.8 and 1, with each suffix. The first has as many parts as
// the language's Dockerfiles usually name.
func versionTags(version string, usual int, suffixes ...string) []string {
	parts := strings.SplitN(version, ".", 3)
	usual = min(usual, len(parts))
	first := strings.Join(parts[:usual], ".")
	var tags []string
	for _, suffix := range suffixes {
		tags = append(tags, first+suffix)
		for n := 1; n <= len(parts); n++ {
			if n != usual {
				tags = append(tags, strings.Join(parts[:n], ".")+suffix)
			}
		}
	}
	return append(tags, "latest")
}

// distroless are the images without a shell that static programs are put into.
func distroless(base recipe, s sources) []recipe {
	r := base
	r.host, r.repository = "gcr.io", "distroless/static-debian12"
	r.also = []string{"distroless/static", "distroless/static-debian11", "distroless/static-debian13"}
	r.description = "CA certificates of this machine and the accounts root, nobody and nonroot; without time zones"
	r.cmd = nil
	r.fill = []func(context.Context, *tree) error{func(_ context.Context, t *tree) error {
		t.file("/etc/passwd", 0o644, passwd+"nonroot:x:65532:65532::/home/nonroot:/sbin/nologin\n")
		t.file("/etc/group", 0o644, groups+"nonroot:x:65532:\n")
		t.file("/etc/nsswitch.conf", 0o644, "hosts: files dns\n")
		t.file("/etc/os-release", 0o644, "ID=slipway-homemade\nNAME=\"Slipway home-made base\"\nVERSION_ID="+recipeVersion+"\n")
		t.dir("/tmp", 0o1777)
		t.dir("/root", 0o700)
		t.owned("/home/nonroot", 0o700, 65532)
		if s.caBundle == "" {
			return nil
		}
		return t.from(caPath, s.caBundle, 0o644)
	}}
	nonroot := r
	r.tags = []string{"latest"}
	nonroot.tags, nonroot.user = []string{"nonroot"}, "65532"
	nonroot.workdir = "/home/nonroot"
	return []recipe{r, nonroot}
}

const (
	passwd = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"
	groups = "root:x:0:\nnogroup:x:65534:\n"
)

// fillRoot makes the layer that every image begins with.
func fillRoot(ctx context.Context, t *tree, s sources) error {
	out, err := exec.CommandContext(ctx, s.busybox, "--list-full").Output()
	if err != nil {
		return fmt.Errorf("list the programs in %s: %w", s.busybox, err)
	}
	for applet := range strings.FieldsSeq(string(out)) {
		if applet != "bin/busybox" {
			t.link("/"+applet, "/bin/busybox")
		}
	}
	if err := t.from("/bin/busybox", s.busybox, 0o755); err != nil {
		return err
	}
	t.dir("/tmp", 0o1777)
	t.dir("/var/tmp", 0o1777)
	t.dir("/root", 0o700)
	for _, d := range []string{"/dev", "/proc", "/sys", "/run", "/home", "/usr/local/bin", "/var/log"} {
		t.dir(d, 0o755)
	}
	t.file("/etc/passwd", 0o644, passwd)
	t.file("/etc/group", 0o644, groups)
	t.file("/etc/nsswitch.conf", 0o644, "hosts: files dns\n")
	t.file("/etc/os-release", 0o644, "ID=slipway-homemade\nNAME=\"Slipway home-made base\"\nVERSION_ID="+recipeVersion+"\n")
	t.file("/sbin/apk", 0o755, noPackages)
	t.file("/usr/bin/apt-get", 0o755, noPackages)
	if s.caBundle == "" {
		return nil
	}
	return t.from(caPath, s.caBundle, 0o644)
}

// noPackages turns "not found" in a build into a reason.
const noPackages = `#!/bin/sh
echo "$0: this is a base image that 'slipway images bootstrap' made from the machine's own files." >&2
echo "It has no packages to install. Build where the real base image can be pulled, or do without." >&2
exit 1
`

// baseInputs are what every image depends on, and the busybox's version.
func baseInputs(ctx context.Context, s sources) (inputs []string, version string, err error) {
	if s.busybox == "" {
		return nil, "", errors.New("base images need a static busybox: install the package busybox-static " +
			"(Debian and Ubuntu: apt-get install busybox-static)")
	}
	out, err := exec.CommandContext(ctx, s.busybox, "--help").Output()
	if err != nil {
		return nil, "", fmt.Errorf("base images: %s --help: %w", s.busybox, err)
	}
	version, _, _ = strings.Cut(string(out), " (")
	inputs = []string{"recipes " + recipeVersion}
	for _, path := range []string{s.busybox, s.caBundle} {
		if path == "" {
			continue
		}
		hash, err := hashFile(path)
		if err != nil {
			return nil, "", fmt.Errorf("base images: %w", err)
		}
		inputs = append(inputs, hash)
	}
	return inputs, version, nil
}

func hashFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return fmt.Sprintf("%x", h.Sum(nil)), nil
}

// libraries lists the shared libraries that a program loads, and its loader; none for a static one.
func libraries(ctx context.Context, program string) ([]string, error) {
	out, err := exec.CommandContext(ctx, "ldd", program).CombinedOutput()
	if strings.Contains(string(out), "not a dynamic executable") || strings.Contains(string(out), "statically linked") {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("shared libraries of %s: %w: %s", program, err, strings.TrimSpace(string(out)))
	}
	if strings.Contains(string(out), "not found") {
		return nil, fmt.Errorf("shared libraries of %s: some are missing:\n%s", program, out)
	}
	var found []string
	for _, m := range regexp.MustCompile(`(?m)(/\S+) \(0x`).FindAllStringSubmatch(string(out), -1) {
		found = append(found, m[1])
	}
	return found, nil
}
