package baseimages

import (
	"fmt"
	"path"
	"slices"

	"github.com/google/go-containerregistry/pkg/name"
)

// place is a name that an image is found under.
type place struct{ host, repository, tag string }

func (p place) String() string { return p.host + "/" + p.repository + ":" + p.tag }

// prefix is what repositories of its host begin with in the mirror, given that of docker.io.
func (p place) prefix(dockerHub string) string {
	if p.host == dockerIO {
		return dockerHub
	}
	return path.Join(path.Dir(dockerHub), p.host)
}

const dockerIO = "docker.io"

// Hosts are the registries whose names stand-ins may have.
func Hosts() []string { return []string{dockerIO, "gcr.io"} }

// places are the usual names of an image, the one that Record names first.
func (r recipe) places() []place {
	host := r.host
	if host == "" {
		host = dockerIO
	}
	var out []place
	for _, repository := range append([]string{r.repository}, r.also...) {
		for _, tag := range r.tags {
			out = append(out, place{host, repository, tag})
		}
	}
	return out
}

// assign finds an image for each name that was asked for: further places of each recipe, by its position. Names that no
// image can stand in for are said to be missing.
func assign(list []recipe, names []string, say func(Event)) (map[int][]place, error) {
	out := map[int][]place{}
	for _, asked := range names {
		ref, err := name.ParseReference(asked)
		if err != nil {
			return nil, fmt.Errorf("base image %q: %w", asked, err)
		}
		tag, ok := ref.(name.Tag)
		if !ok {
			say(Event{Image: asked, Missing: "it is pinned by digest, which no stand-in can have"})
			continue
		}
		p := place{tag.RegistryStr(), tag.RepositoryStr(), tag.TagStr()}
		if p.host == name.DefaultRegistry {
			p.host = dockerIO
		}
		switch i := closest(list, p); {
		case i < 0:
			say(Event{Image: p.String(), Missing: "nothing on this machine can stand in for it"})
		case !slices.Contains(list[i].places(), p) && !slices.Contains(out[i], p):
			out[i] = append(out[i], p)
		}
	}
	return out, nil
}

// closest is the recipe with the name, or the first of its repository; -1: none.
func closest(list []recipe, p place) int {
	same := func(match func(place) bool) int {
		return slices.IndexFunc(list, func(r recipe) bool { return slices.ContainsFunc(r.places(), match) })
	}
	if i := same(func(q place) bool { return p == q }); i >= 0 {
		return i
	}
	return same(func(q place) bool { return p.host == q.host && p.repository == q.repository })
}
