package buildkit

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/session/secrets/secretsprovider"

	"github.com/slipway-build/slipway/worker/runner"
)

// errRuns: an export is ended as soon as a step would begin. What the daemon has removed from its cache since the build is not
// built again.
var errRuns = errors.New("the daemon has lost steps of the build")

// errSecret answers what an export is asked for: the values are gone with the attempt, and a command without them would leave
// something in the cache that no build made.
var errSecret = errors.New("an export of a cache has no secrets")

// noSecrets are those of an export.
type noSecrets struct{}

// GetSecret refuses. Not found would be another answer: a step may do without.
func (noSecrets) GetSecret(context.Context, string) ([]byte, error) { return nil, errSecret }

// export writes all steps of a build to the cache. The daemon finds them in its own, and nothing of it is shown. It is ended as
// soon as the daemon says that a step of the Dockerfile began: a short one may have been carried out by then.
func (c *Cache) export(ctx context.Context, t runner.Task, b runner.Build, attrs map[string]string, u use) error {
	opt, err := c.client.optionsWith(t, b, secretsprovider.NewSecretProvider(noSecrets{}))
	if err != nil {
		return err
	}
	opt.Frontend, opt.FrontendAttrs = "dockerfile.v0", attrs
	if u.from != nil { // layers that the daemon knows by name alone are offered again
		with, store := offer(ctx, opt, u.from)
		defer store.Close()
		opt = with
	}
	to := map[string]string{
		"ref": u.ref, "mode": "max", "compression": "zstd", "oci-mediatypes": "true", "image-manifest": "true",
	}
	if c.client.insecure(u.ref) {
		to["registry.insecure"] = "true"
	}
	opt.CacheExports = []client.CacheOptionsEntry{{Type: "registry", Attrs: to}}

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ch := make(chan *client.SolveStatus, 64)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for s := range ch {
			for _, v := range s.Vertexes {
				if v.Started != nil && !v.Cached && isStep(v) {
					cancel(fmt.Errorf("%w: %s", errRuns, v.Name))
				}
			}
		}
	}()
	_, err = c.client.bk.Solve(ctx, nil, opt, ch)
	<-done
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return cause
	}
	return err
}

// isStep says that a vertex is an instruction of the Dockerfile that makes something of what is before it. What ADD fetches
// has the same name and nothing before it: the daemon asks each time whether that is still so.
func isStep(v *client.Vertex) bool {
	for _, instruction := range []string{"] RUN ", "] COPY ", "] ADD "} {
		if strings.Contains(v.Name, instruction) && len(v.Inputs) > 0 {
			return true
		}
	}
	return false
}

// CheckCacheRegistry says what is wrong with a registry below which caches are to be.
func CheckCacheRegistry(registry string) error {
	const most = 100 // so that the names below it are not too long
	pattern := `^([a-zA-Z0-9-]+(\.[a-zA-Z0-9-]+)+|localhost|[a-zA-Z0-9.-]+:[0-9]+|\[[0-9a-f:]+\](:[0-9]+)?)(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`
	if len(registry) > most || !regexp.MustCompile(pattern).MatchString(registry) {
		return fmt.Errorf("%q is no place in a registry: expected <host>[:<port>][/<path>] without https:// and without a tag, the path in small letters, e.g. registry.example.com/cache", registry)
	}
	return nil
}

// CacheRef names the cache of a service for a platform below a registry, "<registry>/<project>/<service>:<platform>".
func CacheRef(registry, project, service, platform string) string {
	if platform == "" {
		platform = "default"
	}
	return registry + "/" + part(project) + "/" + part(service) + ":" + part(strings.ReplaceAll(platform, "/", "-"))
}

// part is a name as it may stand in a reference. One that may not is changed, and told from others by a hash.
func part(name string) string {
	const most = 60
	if len(name) <= most && regexp.MustCompile(`^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$`).MatchString(name) {
		return name
	}
	plain := regexp.MustCompile(`[^a-z0-9]+`).ReplaceAllString(strings.ToLower(name), "-")
	plain = strings.Trim(plain[:min(len(plain), most)], "-")
	return strings.TrimLeft(fmt.Sprintf("%s-%x", plain, sha256.Sum256([]byte(name)))[:min(len(plain), most)+1+12], "-")
}
