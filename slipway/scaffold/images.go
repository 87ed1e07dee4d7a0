package scaffold

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// repository is an image without tag and digest.
func repository(image string) string {
	image, _, _ = strings.Cut(image, "@")
	if i := strings.LastIndexByte(image, ':'); i > strings.LastIndexByte(image, '/') {
		image = image[:i]
	}
	return image
}

// named says that deploy.images may have an image as a key.
func named(image string) bool {
	return regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._/:-]{0,127}$`).MatchString(image)
}

// images are those of the containers below a folder, and what its kustomizations make of them.
func (b *builder) images(dir string) []string {
	set := map[string]bool{}
	for _, c := range b.containers(dir) {
		if c.Image != "" {
			set[repository(c.Image)] = true
		}
	}
	for _, file := range b.tree.custom {
		if !inside(file, dir) {
			continue
		}
		var k struct {
			Images []struct {
				Name    string `json:"name"`
				NewName string `json:"newName"`
			} `json:"images"`
		}
		if yaml.Unmarshal(b.tree.read(file), &k) != nil {
			continue
		}
		for _, i := range k.Images {
			if set[i.Name] && i.NewName != "" {
				set[repository(i.NewName)] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(set))
}

// means says that an image of the manifests is probably that of a service.
func means(image string, s *Service) bool {
	base := path.Base(image)
	return slices.Contains(s.images, image) || base == s.Name || strings.HasSuffix(base, "-"+s.Name) || strings.HasSuffix(base, "_"+s.Name)
}

// imageName finds which images of its manifests are those of the service, and says when
// none seems to be.
func (b *builder) imageName(s *Service) {
	all := b.images(s.Deploy.Path)
	own := slices.DeleteFunc(slices.Clone(all), func(i string) bool { return !means(i, s) })
	bases := map[string]bool{}
	for _, i := range all {
		bases[path.Base(i)] = true
	}
	if len(own) == 0 && len(bases) == 1 { // there is no other that it could be
		own = all
	}
	b.take(s, own)
	if len(own) == 0 && len(all) > 0 {
		s.note("in %s no container seems to have its image: say which one with deploy.images (found: %s)", s.Deploy.Path, strings.Join(all, ", "))
	}
}

// take notes that images in the manifests of a service mean its own.
func (b *builder) take(s *Service, images []string) {
	var said []string
	for _, i := range images {
		if i == s.Name || !named(i) {
			continue
		}
		if s.Deploy.Images == nil {
			s.Deploy.Images = map[string]string{}
		}
		s.Deploy.Images[i] = s.Name
		said = append(said, i)
	}
	if len(said) > 0 {
		s.note("in %s its digest goes where the image is %s", s.Deploy.Path, strings.Join(said, " or "))
	}
}

// chartImages are the images in the values of a chart → the keys above them.
func (b *builder) chartImages(dir string) map[string][]string {
	out := map[string][]string{}
	var values map[string]any
	if yaml.Unmarshal(b.tree.read(path.Join(dir, "values.yaml")), &values) == nil {
		collect(values, nil, out)
	}
	return out
}

// collect finds image: "name:tag" and image: { repository, registry } in values.
func collect(values map[string]any, keys []string, out map[string][]string) {
	for _, k := range slices.Sorted(maps.Keys(values)) {
		switch v := values[k].(type) {
		case string:
			if k == "image" && v != "" {
				out[repository(v)] = slices.Clone(keys)
			}
		case map[string]any:
			name, _ := v["repository"].(string)
			if registry, _ := v["registry"].(string); registry != "" && name != "" {
				name = registry + "/" + name
			}
			here := append(slices.Clone(keys), k)
			if name != "" {
				out[repository(name)] = here
			}
			collect(v, here, out)
		}
	}
}

// chartImage finds which images of a chart are those of its service.
func (b *builder) chartImage(s *Service, dir string) {
	names := slices.Sorted(maps.Keys(b.chartImages(dir)))
	own := slices.DeleteFunc(slices.Clone(names), func(i string) bool { return !means(i, s) })
	if len(own) == 0 && len(names) == 1 {
		own = names
	}
	b.take(s, own)
	if len(own) > 0 {
		return
	}
	found := "it has no image.repository"
	if len(names) > 0 {
		found = "found: " + strings.Join(names, ", ")
	}
	s.note("set the image of the container to %s in %s, where the digest goes, or say which one is meant with deploy.images (%s)",
		s.Name, path.Join(dir, "values.yaml"), found)
}

// shares are the images of a chart → the services that they mean.
func (b *builder) shares(dir string) map[string]string {
	out := map[string]string{}
	for image, keys := range b.chartImages(dir) {
		for _, s := range b.found.Services {
			if !s.NoBuild && (slices.Contains(keys, s.Name) || means(image, s)) {
				out[image] = s.Name
				break
			}
		}
	}
	return out
}

// shared finds charts and folders of manifests that roll out several services: each
// becomes a service that builds nothing.
func (b *builder) shared() {
	if len(b.found.Services) < 2 {
		return
	}
	taken := map[string]bool{}
	for _, s := range b.found.Services {
		if s.Deploy != nil {
			taken[s.Deploy.Path] = true
		}
	}
	for _, chart := range b.tree.charts {
		if dir := path.Dir(chart); !taken[dir] && !b.subchart(dir) {
			b.group(path.Base(dir), &Deploy{Path: dir, Using: "helm"}, b.shares(dir))
		}
	}
	for _, dir := range usual() {
		d := b.manifests(dir)
		if d == nil || taken[dir] {
			continue
		}
		d.Health = nil // of one of several
		images := map[string]string{}
		for _, image := range b.images(dir) {
			for _, s := range b.found.Services {
				if !s.NoBuild && means(image, s) {
					images[image] = s.Name
				}
			}
		}
		b.group(b.found.Project, d, images)
	}
}

// subchart says that a chart lies in another one.
func (b *builder) subchart(dir string) bool {
	return slices.ContainsFunc(b.tree.charts, func(c string) bool { return path.Dir(c) != dir && inside(dir, path.Dir(c)) })
}

// group adds a service for manifests that roll out others which have none themselves.
func (b *builder) group(name string, d *Deploy, images map[string]string) {
	d.Images = map[string]string{}
	for image, service := range images {
		if b.byName[service].Deploy == nil && b.byName[service].By == "" && named(image) {
			d.Images[image] = service
		}
	}
	if len(d.Images) == 0 || len(b.found.Services) >= maxItems {
		return
	}
	unique := label(name, "manifests")
	for n := 2; b.byName[unique] != nil; n++ {
		unique = fmt.Sprintf("%s-%d", label(name, "manifests"), n)
	}
	s := &Service{Name: unique, Path: d.Path, NoBuild: true, Deploy: d}
	s.note("it builds nothing: its manifests roll out services that have none of their own")
	b.byName[unique] = s
	b.found.Services = append(b.found.Services, s)
	for _, service := range slices.Compact(slices.Sorted(maps.Values(d.Images))) {
		b.byName[service].By = unique
		b.byName[service].note("it is rolled out by %s", unique)
	}
}
