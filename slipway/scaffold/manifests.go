package scaffold

import (
	"path"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"
)

// folders that manifests are usually in.
func usual() []string {
	return []string{"deploy", "k8s", "kubernetes", "kustomize", "manifests", "deployment", "kubernetes-manifests", "k8s-manifests"}
}

// deploy finds the manifests of a service: in its own folder, in a folder with its name,
// or, if it is the only one, in the repository's.
func (b *builder) deploy(s *Service) {
	var candidates []string
	for _, u := range usual() {
		candidates = append(candidates, path.Join(u, s.Name), path.Join(u, path.Base(s.Path)))
		if s.Path != "." {
			candidates = append(candidates, path.Join(s.Path, u))
		}
	}
	if len(b.found.Services) == 1 {
		candidates = append(candidates, usual()...)
	}
	for _, dir := range candidates {
		if d := b.manifests(dir); d != nil {
			s.Deploy = d
			b.imageName(s)
			return
		}
	}
	for _, chart := range b.tree.charts {
		dir := path.Dir(chart)
		if inside(dir, s.Path) && s.Path != "." || path.Base(dir) == s.Name && len(b.shares(dir)) < 2 || len(b.found.Services) == 1 {
			s.Deploy = &Deploy{Path: dir, Using: "helm"}
			b.chartImage(s, dir)
			return
		}
	}
}

// manifests says what a folder is, nil for none.
func (b *builder) manifests(dir string) *Deploy {
	if !b.tree.dirs[dir] {
		return nil
	}
	for _, k := range b.tree.custom {
		at := path.Dir(k)
		if at == dir || at == path.Join(dir, "base") || path.Dir(at) == path.Join(dir, "overlays") {
			return &Deploy{Path: dir, Using: "kustomize", Health: b.health(dir)}
		}
	}
	for _, f := range b.tree.in(dir) {
		if len(b.objects(f)) > 0 {
			return &Deploy{Path: dir, Using: "manifests", Health: b.health(dir)}
		}
	}
	return nil
}

// object is what matters here of a Kubernetes object.
type object struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Spec       struct {
		Template struct {
			Spec struct {
				Containers []container `json:"containers"`
			} `json:"spec"`
		} `json:"template"`
	} `json:"spec"`
}

type container struct {
	Image string `json:"image"`
	Ports []struct {
		Name string `json:"name"`
		Port int    `json:"containerPort"`
	} `json:"ports"`
	Ready struct {
		HTTP struct {
			Path string `json:"path"`
			Port any    `json:"port"`
		} `json:"httpGet"`
	} `json:"readinessProbe"`
}

// objects are those of a file; none for other files.
func (b *builder) objects(file string) []object {
	if !strings.HasSuffix(file, ".yaml") && !strings.HasSuffix(file, ".yml") {
		return nil
	}
	var out []object
	for _, doc := range strings.Split(string(b.tree.read(file)), "\n---") {
		var o object
		if yaml.Unmarshal([]byte(doc), &o) == nil && o.Kind != "" && o.APIVersion != "" && o.Kind != "Kustomization" {
			out = append(out, o)
		}
	}
	return out
}

// containers are those of all workloads below a folder.
func (b *builder) containers(dir string) []container {
	var out []container
	n := 0
	for _, f := range b.tree.files {
		if !inside(f, dir) || n > maxItems {
			continue
		}
		n++
		for _, o := range b.objects(f) {
			out = append(out, o.Spec.Template.Spec.Containers...)
		}
	}
	return out
}

// health is the first readiness probe over HTTP.
func (b *builder) health(dir string) *Health {
	for _, c := range b.containers(dir) {
		h := c.Ready.HTTP
		if h.Path == "" {
			continue
		}
		port := 0
		switch p := h.Port.(type) {
		case float64:
			port = int(p)
		case string:
			port, _ = strconv.Atoi(p)
			for _, named := range c.Ports {
				if named.Name == p {
					port = named.Port
				}
			}
		}
		if port > 0 && port < 1<<16 && strings.HasPrefix(h.Path, "/") {
			return &Health{Path: h.Path, Port: port}
		}
	}
	return nil
}

// advise says what the repository as a whole has that is not taken up.
func (b *builder) advise() {
	if len(b.found.Services) == 0 {
		b.note("there is no Dockerfile: Slipway builds services from Dockerfiles. Write one in the folder of each service, and run slipway init again")
	}
	for i, name := range b.tree.unnamed {
		if i < 5 {
			b.note("%q has characters that slipway.yaml cannot name, and was left out", name)
		}
	}
	if len(b.found.Services) < 2 {
		return
	}
	for _, dir := range usual() {
		flat := 0
		for _, f := range b.tree.in(dir) {
			if len(b.objects(f)) > 0 {
				flat++
			}
		}
		if flat > 1 {
			b.note("%s has the manifests of several services in one folder: give each service a folder of its own, deploy/<service>", dir)
		}
	}
}
