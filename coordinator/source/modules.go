package source

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/slipway-build/slipway/internal/strictyaml"
)

// module is a submodule of a commit.
type module struct {
	remote remote
	commit string
	root   Entry // its folder, at its path in the commit
}

// Submodule has the mirror hold what a submodule of a commit is: the commit that the tree
// names, of the repository that .gitmodules names. ErrNotAllowed: of an address that is
// refused, or with submodules of its own, which are not fetched.
func (m *Mirror) Submodule(ctx context.Context, repository, commit, name string) error {
	r, err := m.at(ctx, repository, commit)
	if err != nil {
		return err
	}
	if err := checkPath(name); err != nil {
		return err
	}
	_, err = m.module(ctx, r, commit, name)
	return err
}

func (m *Mirror) module(ctx context.Context, r remote, commit, name string) (module, error) {
	found, err := m.find(ctx, r, commit, []string{name})
	if err != nil {
		return module{}, err
	}
	if !found[name].Submodule() {
		return module{}, &Error{Kind: ErrFileNotFound, Message: fmt.Sprintf("commit %.12s has no submodule %s", commit, strictyaml.Quote(name))}
	}
	address, err := m.moduleAddress(ctx, r, commit, name)
	if err != nil {
		return module{}, err
	}
	out := module{commit: found[name].ID}
	if out.remote, err = parseRemote(address, m.conf.LocalPaths); err == nil {
		_, err = m.Resolve(ctx, address, out.commit)
	}
	if err != nil {
		kind := ErrNotAllowed
		for _, k := range []error{ErrUnreachable, ErrRefNotFound} {
			if errors.Is(err, k) {
				kind = k
			}
		}
		return module{}, &Error{Kind: kind, Message: fmt.Sprintf("submodule %s of commit %.12s: %v", strictyaml.Quote(name), commit, err), Cause: err}
	}
	if out.root, err = m.root(ctx, out.remote, out.commit); err != nil {
		return module{}, err
	}
	out.root.Path = name
	return out, m.flat(ctx, out)
}

// flat refuses submodules of submodules.
func (m *Mirror) flat(ctx context.Context, mod module) error {
	list, err := m.below(ctx, mod.remote, []Entry{mod.root})
	if err != nil {
		return err
	}
	if i := slices.IndexFunc(list, Entry.Submodule); i >= 0 {
		return refuse("submodule %s has the submodule %s, and submodules of submodules are not fetched", strictyaml.Quote(mod.root.Path), strictyaml.Quote(list[i].Path))
	}
	return nil
}

// moduleAddress is what .gitmodules says of a path, as git reads it.
func (m *Mirror) moduleAddress(ctx context.Context, r remote, commit, name string) (string, error) {
	none := &Error{Kind: ErrFileNotFound, Message: fmt.Sprintf("the .gitmodules of commit %.12s does not say where submodule %s comes from", commit, strictyaml.Quote(name))}
	found, err := m.find(ctx, r, commit, []string{".gitmodules"})
	if err != nil {
		return "", err
	}
	file, ok := found[".gitmodules"]
	if !ok || !file.File() {
		return "", none
	}
	if _, err := m.blobs(ctx, r, []Entry{file}); err != nil { // with its limit
		return "", err
	}
	out, err := m.git.Output(ctx, m.dir(r), "config", "--blob", file.ID, "--no-includes", "-z", "--list")
	if err != nil {
		return "", &Error{Kind: ErrFileNotFound, Message: fmt.Sprintf("the .gitmodules of commit %.12s cannot be read: %v", commit, err), Cause: err}
	}
	paths, urls := map[string]string{}, map[string]string{}
	for line := range strings.SplitSeq(string(out), "\x00") {
		key, value, _ := strings.Cut(line, "\n")
		if section, ok := strings.CutSuffix(key, ".path"); ok {
			paths[path.Clean(value)] = section
		}
		if section, ok := strings.CutSuffix(key, ".url"); ok {
			urls[section] = value
		}
	}
	address := urls[paths[name]]
	if address == "" {
		return "", none
	}
	return beside(r, address), nil
}

// beside resolves an address that is relative to a remote, as git does: "../zlib.git".
func beside(r remote, address string) string {
	if !strings.HasPrefix(address, "./") && !strings.HasPrefix(address, "../") {
		return address
	}
	if u, err := url.Parse(r.address); err == nil && u.Host != "" {
		u.Path = path.Join(u.Path, address)
		return u.String()
	}
	if at := scpAddress.FindStringSubmatch(r.address); at != nil {
		return at[1] + at[2] + ":" + path.Join(at[3], address)
	}
	return path.Join(r.address, address)
}

// expanded puts the files of submodules in the place of their folders.
func (m *Mirror) expanded(ctx context.Context, r remote, commit string, list []Entry, with Options) ([]Entry, error) {
	var out []Entry
	for _, e := range list {
		if !e.Submodule() || !slices.Contains(with.Submodules, e.Path) {
			out = append(out, e)
			continue
		}
		mod, err := m.module(ctx, r, commit, e.Path)
		if err != nil {
			return nil, err
		}
		files, err := m.below(ctx, mod.remote, []Entry{mod.root})
		if err != nil {
			return nil, err
		}
		if with.LFS {
			if err := m.resolved(ctx, mod.remote, mod.commit, []string{"."}, e.Path+"/", files); err != nil {
				return nil, err
			}
		}
		for i := range files {
			files[i].Module = mod.remote.address
		}
		out = append(out, files...)
	}
	slices.SortFunc(out, byPath)
	return out, nil
}
