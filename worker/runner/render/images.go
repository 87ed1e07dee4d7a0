package render

import (
	"fmt"
	"slices"
	"strings"
)

// replacer puts digests where services are named: in an image that is "api",
// "api:anything", or the repository that the digest is in.
type replacer struct {
	images map[string]string

	replaced   int
	containers int
	left       []string // "Deployment api, container web: nginx:1.27"
}

// object replaces the images of all containers in o, wherever they lie.
func (r *replacer) object(o *object) { r.value(o, o.fields) }

func (r *replacer) value(o *object, v any) {
	switch v := v.(type) {
	case map[string]any:
		for _, key := range sorted(v) {
			if list, ok := v[key].([]any); ok && slices.Contains([]string{"containers", "initContainers", "ephemeralContainers"}, key) {
				for _, c := range list {
					r.container(o, c)
				}
			}
			r.value(o, v[key])
		}
	case []any:
		for _, e := range v {
			r.value(o, e)
		}
	}
}

func sorted(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func (r *replacer) container(o *object, v any) {
	c, ok := v.(map[string]any)
	if !ok {
		return
	}
	image, ok := c["image"].(string)
	if !ok {
		return
	}
	r.containers++
	if digest, ok := r.find(image); ok {
		c["image"] = digest
		r.replaced++
		return
	}
	if !strings.Contains(image, "@sha256:") {
		r.left = append(r.left, fmt.Sprintf("%s %s, container %v: %s", o.kind(), o.name(), c["name"], image))
	}
}

func (r *replacer) find(image string) (string, bool) {
	name := repository(image)
	if digest, ok := r.images[name]; ok {
		return digest, true
	}
	for _, digest := range r.images {
		if name == repository(digest) {
			return digest, true
		}
	}
	return "", false
}

// repository is an image reference without tag and digest.
func repository(image string) string {
	image, _, _ = strings.Cut(image, "@")
	if i := strings.LastIndexByte(image, ':'); i > strings.LastIndexByte(image, '/') {
		image = image[:i]
	}
	return image
}

const notPinned = " is not pinned by digest: what it means may change"

// verdict: containers none of which is the service's would roll out nothing that was
// built. Other images that are not pinned are pointed out.
func (r *replacer) verdict(service, from string) (warnings []string, err error) {
	if len(r.images) > 0 && r.containers > 0 && r.replaced == 0 {
		return nil, fmt.Errorf("%s: no container uses the image of service %s: write `image: %s` where its digest belongs (found: %s)",
			from, service, service, strings.Join(r.left, "; "))
	}
	for _, l := range r.left {
		warnings = append(warnings, l+notPinned)
	}
	return warnings, nil
}
