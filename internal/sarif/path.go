package sarif

import (
	"fmt"
	"net/url"
	"path"
	"strings"
)

// path is where in the repository an artifact lies; empty: it is no file of it, but an address.
func (r reader) path(a artifactLocation) (string, error) {
	if a.URI == "" && a.Index != nil && *a.Index >= 0 && *a.Index < len(r.run.Artifacts) {
		a = r.run.Artifacts[*a.Index].Location
	}
	if a.URI == "" {
		return "", nil
	}
	full, isFile := local(a.URI)
	switch {
	case !isFile:
		return "", nil
	case len(full) > MaxPath:
		return "", fmt.Errorf("path %q has %d bytes: expected at most %d", clipped(full), len(full), MaxPath)
	}
	if !path.IsAbs(full) {
		// A base says where the tool took the repository to be; below no root, it is the root itself.
		if p, ok := r.within(path.Join(r.base(a.Base, 0), full)); ok {
			return p, nil
		}
		if p := path.Clean(full); validPath(p) {
			return strings.ToValidUTF8(p, "\uFFFD"), nil
		} else if p == "." {
			return "", nil
		}
		return "", fmt.Errorf("path %q leaves the repository: expected one relative to it", clipped(full))
	}
	if p, ok := r.within(path.Clean(full)); ok {
		return p, nil
	}
	if len(r.roots) == 0 {
		return "", fmt.Errorf("path %q is absolute: expected one relative to the repository", clipped(full))
	}
	return "", fmt.Errorf("path %q is outside of the repository: expected one relative to it, or below %s", clipped(full), strings.Join(r.roots, " or "))
}

// within makes an absolute path relative to the root that it lies below.
func (r reader) within(full string) (string, bool) {
	for _, root := range r.roots {
		root = strings.TrimSuffix(path.Clean("/"+root), "/") + "/"
		if p, ok := strings.CutPrefix(full, root); ok && validPath(p) {
			return strings.ToValidUTF8(p, "\uFFFD"), true
		}
	}
	return "", false
}

// base is the folder of a uriBaseId, which may stand on another; empty: unknown.
func (r reader) base(id string, depth int) string {
	b, ok := r.run.Bases[id]
	if !ok || depth > 8 {
		return ""
	}
	dir, isFile := local(b.URI)
	switch {
	case !isFile:
		return ""
	case path.IsAbs(dir):
		return dir
	}
	return path.Join(r.base(b.Base, depth+1), dir)
}

// local is the path of a URI or of what tools write instead of one; false: it is no file.
func local(uri string) (string, bool) {
	if rest, ok := strings.CutPrefix(uri, "file:"); ok {
		if authority, ok := strings.CutPrefix(rest, "//"); ok {
			_, rest, _ = strings.Cut(authority, "/") // the host: this one
			rest = "/" + rest
		}
		uri = rest
	} else if strings.Contains(uri, "://") {
		return "", false
	}
	if p, err := url.PathUnescape(uri); err == nil {
		uri = p
	}
	return uri, true
}
