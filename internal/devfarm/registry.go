package devfarm

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/slipway-build/slipway/internal/engines"
	"github.com/slipway-build/slipway/internal/ociregistry"
)

// RegistryFiles are what a cluster's node needs to pull from the farm's registry: the
// certificate that signs it, and a file with "user:password". They can be made before
// the farm runs.
func RegistryFiles(state string) (ca, auth string, err error) {
	s, err := engines.OpenSecrets(filepath.Join(state, "secrets"))
	if err != nil {
		return "", "", err
	}
	auth = s.File("pull-auth")
	if err := os.WriteFile(auth, []byte(engines.RegistryPull+":"+s.Get(engines.RegistryPull)), 0o600); err != nil {
		return "", "", fmt.Errorf("write pull credential: %w", err)
	}
	authority, err := ociregistry.OpenCA(filepath.Join(state, "ca"), time.Now())
	if err != nil {
		return "", "", err
	}
	ca = filepath.Join(state, "ca", "registry-ca.crt")
	if err := os.WriteFile(ca, authority.PEM(), 0o600); err != nil {
		return "", "", fmt.Errorf("write the registry's CA: %w", err)
	}
	return ca, auth, nil
}
