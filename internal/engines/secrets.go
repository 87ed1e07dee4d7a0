package engines

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/slipway-build/slipway/internal/rpc"
)

// Names of the secrets, and of the users who have them.
const (
	AdminToken      = "admin"
	WorkerToken     = "worker"
	DeployerToken   = "deployer"
	NATSCoordinator = "nats-coordinator"
	NATSWorker      = "nats-worker"
	NATSCluster     = "nats-cluster" // the servers of a cluster among themselves
	RedisPassword   = "redis"
	RegistryPush    = "push"
	RegistryPull    = "pull"
	RegistryMirror  = "mirror"
)

// Secrets of a farm, each in a file of its own. They are made once per state folder.
type Secrets struct {
	dir    string
	values map[string]string
}

// OpenSecrets reads those of a folder, and makes those that are missing.
func OpenSecrets(dir string) (*Secrets, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make folder for credentials: %w", err)
	}
	s := &Secrets{dir: dir, values: map[string]string{}}
	for _, name := range []string{
		AdminToken, WorkerToken, DeployerToken, NATSCoordinator, NATSWorker, NATSCluster, RedisPassword, RegistryPush, RegistryPull, RegistryMirror,
	} {
		data, err := os.ReadFile(s.File(name))
		if errors.Is(err, fs.ErrNotExist) {
			data = []byte(rpc.NewToken())
			err = os.WriteFile(s.File(name), data, 0o600)
		}
		if err != nil {
			return nil, fmt.Errorf("credential %s: %w", name, err)
		}
		s.values[name] = strings.TrimSpace(string(data))
	}
	return s, nil
}

// Get returns a secret by its name.
func (s *Secrets) Get(name string) string { return s.values[name] }

// File is where it is kept.
func (s *Secrets) File(name string) string { return filepath.Join(s.dir, name) }

// DockerConfig writes a docker config file that logs a user in to the registry.
func (s *Secrets) DockerConfig(registry, user string) (string, error) {
	auth := base64.StdEncoding.EncodeToString([]byte(user + ":" + s.Get(user)))
	data, err := json.Marshal(map[string]any{"auths": map[string]any{registry: map[string]string{"auth": auth}}})
	if err != nil {
		return "", fmt.Errorf("encode docker config: %w", err)
	}
	file := s.File("docker-" + user + ".json")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		return "", fmt.Errorf("write docker config: %w", err)
	}
	return file, nil
}
