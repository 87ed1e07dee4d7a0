package buildkit

import (
	"fmt"

	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/secrets/secretsprovider"

	"github.com/slipway-build/slipway/worker/runner"
)

// envPrefix tells ids of environment variables from ids of mounts.
const envPrefix = "slipway.env."

// SecretEnv is the id by which a secret of a test's environment is asked for.
func SecretEnv(variable string) string { return envPrefix + variable }

// SidecarSecretEnv is the id by which a secret of a sidecar's environment is asked for.
func SidecarSecretEnv(sidecar, variable string) string { return envPrefix + sidecar + "/" + variable }

// secrets are what the daemon may ask for while it works for t: the values travel over
// the session of one solve, and are in no definition, no cache key and no provenance.
func secrets(t runner.Task, b runner.Build) (session.Attachable, error) {
	byID := map[string][]byte{}
	add := func(id, name string) error {
		value, ok := t.Secrets[name]
		if !ok {
			return fmt.Errorf("the lease of %s came without the secret %q: the coordinator is older than the worker; upgrade it", t.ID, name)
		}
		byID[id] = value
		return nil
	}
	for id, name := range b.Secrets {
		if err := add(id, name); err != nil {
			return nil, err
		}
	}
	if test, ok := t.Work.(runner.Test); ok {
		for variable, name := range test.Secret {
			if err := add(SecretEnv(variable), name); err != nil {
				return nil, err
			}
		}
		for _, s := range test.Sidecars {
			for variable, name := range s.Secret {
				if err := add(SidecarSecretEnv(s.Name, variable), name); err != nil {
					return nil, err
				}
			}
		}
	}
	return secretsprovider.FromMap(byID), nil
}
