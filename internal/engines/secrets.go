package devfarm

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/slipway-build/slipway/internal/ociregistry"
	"github.com/slipway-build/slipway/internal/rpc"
)

// Names of the secrets, and of the users who have them.
const (
	adminToken      = "admin"
	workerToken     = "worker"
	deployerToken   = "deployer"
	natsCoordinator = "nats-coordinator"
	natsWorker      = "nats-worker"
	redisPassword   = "redis"
	registryPush    = "push"
	registryPull    = "pull"
	registryMirror  = "mirror"
)

// secrets are made once per state folder.
type secrets struct {
	dir    string
	values map[string]string
}

func openSecrets(dir string) (*secrets, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make folder for credentials: %w", err)
	}
	s := &secrets{dir: dir, values: map[string]string{}}
	for _, name := range []string{adminToken, workerToken, deployerToken, natsCoordinator, natsWorker, redisPassword, registryPush, registryPull, registryMirror} {
		data, err := os.ReadFile(s.file(name))
		if errors.Is(err, fs.ErrNotExist) {
			data = []byte(rpc.NewToken())
			err = os.WriteFile(s.file(name), data, 0o600)
		}
		if err != nil {
			return nil, fmt.Errorf("credential %s: %w", name, err)
		}
		s.values[name] = strings.TrimSpace(string(data))
	}
	return s, nil
}

func (s *secrets) get(name string) string  { return s.values[name] }
func (s *secrets) file(name string) string { return filepath.Join(s.dir, name) }

// dockerConfig writes a docker config file that logs a user in to the registry.
func (s *secrets) dockerConfig(registry, user string) (string, error) {
	auth := base64.StdEncoding.EncodeToString([]byte(user + ":" + s.get(user)))
	data, err := json.Marshal(map[string]any{"auths": map[string]any{registry: map[string]string{"auth": auth}}})
	if err != nil {
		return "", fmt.Errorf("encode docker config: %w", err)
	}
	file := s.file("docker-" + user + ".json")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		return "", fmt.Errorf("write docker config: %w", err)
	}
	return file, nil
}

// RegistryFiles are what a cluster's node needs to pull from the farm's registry: the
// certificate that signs it, and a file with "user:password". They can be made before
// the farm runs.
func RegistryFiles(state string) (ca, auth string, err error) {
	s, err := openSecrets(filepath.Join(state, "secrets"))
	if err != nil {
		return "", "", err
	}
	auth = s.file("pull-auth")
	if err := os.WriteFile(auth, []byte(registryPull+":"+s.get(registryPull)), 0o600); err != nil {
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
