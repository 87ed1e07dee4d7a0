package source

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/slipway-build/slipway/internal/strictyaml"
)

const (
	// treeLimit bounds one folder's list, in bytes: about a million names.
	treeLimit = 64 << 20
	// entryLimit is how many files and folders of a commit are listed.
	entryLimit = 2_000_000
	// treesKept is how many bytes of folders' lists are kept: most folders of a commit are
	// those of the commit before it.
	treesKept = 32 << 20
)

// trees keeps lists of folders by the repository and their id, which never change. When
// there are too many, those that were not used since the last time go.
type trees struct {
	mu         sync.Mutex
	now, older map[string]string
	size       int // of now
}

func (t *trees) get(key string) (string, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	raw, ok := t.now[key]
	if !ok {
		if raw, ok = t.older[key]; ok {
			t.add(key, raw)
		}
	}
	return raw, ok
}

func (t *trees) put(key, raw string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.add(key, raw)
}

func (t *trees) add(key, raw string) {
	if t.now == nil {
		t.now = map[string]string{}
	}
	if t.size += len(key) + len(raw); t.size > treesKept/2 {
		t.older, t.now, t.size = t.now, map[string]string{}, len(key)+len(raw)
	}
	t.now[key] = raw
}

// tree reads the lists of folders by their ids, and answers them in the order of ids.
func (m *Mirror) tree(ctx context.Context, r remote, ids []string) ([]string, error) {
	out := make([]string, len(ids))
	missing := map[string][]int{}
	for i, id := range ids {
		raw, ok := m.trees.get(r.key + id)
		if out[i] = raw; !ok {
			missing[id] = append(missing[id], i)
		}
	}
	ask := slices.Collect(maps.Keys(missing))
	err := m.objects.contents(ctx, m.dir(r), ask, func(i int, o object, content io.Reader) error {
		if o.Kind != "tree" || o.Size > treeLimit {
			return fmt.Errorf("list of folder %s: the mirror has a %q of %d bytes; expected a tree of at most %d", ask[i], o.Kind, o.Size, treeLimit)
		}
		raw, err := io.ReadAll(content)
		if err != nil {
			return err
		}
		m.trees.put(r.key+ask[i], string(raw))
		for _, at := range missing[ask[i]] {
			out[at] = string(raw)
		}
		return nil
	})
	return out, err
}

// entries takes git's list of a folder apart: "<mode> <name>\0<id>", in octal and binary.
func entries(raw, dir string, width int) ([]Entry, error) {
	prefix := dir + "/"
	if dir == "." {
		prefix = ""
	}
	var out []Entry
	for raw != "" {
		mode, rest, ok := strings.Cut(raw, " ")
		name, rest, named := strings.Cut(rest, "\x00")
		bits, err := strconv.ParseUint(mode, 8, 32)
		if !ok || !named || err != nil || len(rest) < width {
			return nil, fmt.Errorf("the list of folder %s cannot be read", strictyaml.Quote(dir))
		}
		out = append(out, Entry{Path: prefix + name, Mode: canonical(bits), ID: hex.EncodeToString([]byte(rest[:width]))})
		raw = rest[width:]
	}
	return out, nil
}

// canonical is a mode as git writes it today; old clients wrote others for files.
func canonical(bits uint64) string {
	switch bits & 0o170000 {
	case 0o040000:
		return "040000"
	case 0o120000:
		return "120000"
	case 0o160000:
		return "160000"
	}
	if bits&0o100 != 0 {
		return "100755"
	}
	return "100644"
}

// root is the folder of the whole commit.
func (m *Mirror) root(ctx context.Context, r remote, commit string) (Entry, error) {
	found, err := m.objects.stat(ctx, m.dir(r), []string{commit + "^{tree}"})
	if err != nil {
		return Entry{}, fmt.Errorf("tree of commit %s: %w", commit, err)
	}
	if found[0].Kind != "tree" {
		return Entry{}, fmt.Errorf("commit %s has no tree", commit)
	}
	return Entry{Path: ".", Mode: "040000", ID: found[0].ID}, nil
}

// inside lists what stands directly in folders, one list for each.
func (m *Mirror) inside(ctx context.Context, r remote, dirs []Entry) ([][]Entry, error) {
	ids := make([]string, len(dirs))
	for i, d := range dirs {
		ids[i] = d.ID
	}
	raw, err := m.tree(ctx, r, ids)
	if err != nil {
		return nil, err
	}
	out := make([][]Entry, len(dirs))
	for i, d := range dirs {
		if out[i], err = entries(raw[i], d.Path, len(d.ID)/2); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// find answers what stands at paths, and at the folders above them; what does not exist is
// left out.
func (m *Mirror) find(ctx context.Context, r remote, commit string, paths []string) (map[string]Entry, error) {
	root, err := m.root(ctx, r, commit)
	if err != nil {
		return nil, err
	}
	want := map[string]bool{}
	for _, p := range paths {
		for ; p != "." && !want[p]; p = path.Dir(p) {
			want[p] = true
		}
	}
	found := map[string]Entry{".": root}
	for level := []Entry{root}; len(level) > 0; {
		lists, err := m.inside(ctx, r, level)
		if err != nil {
			return nil, err
		}
		level = nil
		for _, e := range slices.Concat(lists...) {
			if !want[e.Path] {
				continue
			}
			found[e.Path] = e
			if e.Dir() {
				level = append(level, e)
			}
		}
	}
	return found, nil
}

// below lists the files, links and submodules at and below entries, sorted by path, each once.
func (m *Mirror) below(ctx context.Context, r remote, from []Entry) ([]Entry, error) {
	var out []Entry
	for level, seen := from, 0; len(level) > 0; {
		var dirs []Entry
		for _, e := range level {
			if e.Dir() {
				dirs = append(dirs, e)
			} else {
				out = append(out, e)
			}
		}
		if seen += len(level); seen > entryLimit {
			return nil, &Error{Kind: ErrTooLarge, Message: fmt.Sprintf("the commit has more than %d files and folders; name narrower paths", entryLimit)}
		}
		lists, err := m.inside(ctx, r, dirs)
		if err != nil {
			return nil, err
		}
		level = slices.Concat(lists...)
	}
	slices.SortFunc(out, byPath)
	return slices.CompactFunc(out, func(a, b Entry) bool { return a.Path == b.Path }), nil
}

func byPath(a, b Entry) int { return strings.Compare(a.Path, b.Path) }

// differ answers the paths of files that differ between two folders, which may be missing.
func (m *Mirror) differ(ctx context.Context, r remote, a, b Entry) ([]string, error) {
	var out []string
	pairs := [][2]Entry{{a, b}}
	for len(pairs) > 0 {
		flat := make([]Entry, 0, 2*len(pairs))
		for _, p := range pairs {
			flat = append(flat, p[0], p[1])
		}
		lists, err := m.inside(ctx, r, flat)
		if err != nil {
			return nil, err
		}
		pairs = nil
		for i := 0; i < len(lists); i += 2 {
			further, files, err := m.compare(ctx, r, lists[i], lists[i+1])
			if err != nil {
				return nil, err
			}
			pairs, out = append(pairs, further...), append(out, files...)
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// compare answers the folders that differ and are in both lists, and the files that differ.
func (m *Mirror) compare(ctx context.Context, r remote, a, b []Entry) (folders [][2]Entry, files []string, err error) {
	other := make(map[string]Entry, len(b))
	for _, e := range b {
		other[e.Path] = e
	}
	var whole []Entry // on one side only
	for _, e := range a {
		o, both := other[e.Path]
		delete(other, e.Path)
		switch {
		case both && o == e:
		case both && o.Dir() && e.Dir():
			folders = append(folders, [2]Entry{e, o})
		case both:
			whole = append(whole, e, o)
		default:
			whole = append(whole, e)
		}
	}
	whole = slices.AppendSeq(whole, maps.Values(other))
	for _, e := range whole {
		if !e.Dir() {
			files = append(files, e.Path)
		}
	}
	under, err := m.below(ctx, r, slices.DeleteFunc(whole, func(e Entry) bool { return !e.Dir() }))
	for _, e := range under {
		files = append(files, e.Path)
	}
	return folders, files, err
}
