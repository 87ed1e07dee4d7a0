package node

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/slipway-build/slipway/scripts/devcluster/address"
	"github.com/slipway-build/slipway/scripts/devcluster/clusterdir"
	"github.com/slipway-build/slipway/scripts/devcluster/pki"
)

// Spec is what the init process is started with. It is handed over in a file.
type Spec struct {
	Dir        string       `json:"dir"`
	Name       string       `json:"name"`
	Plan       address.Plan `json:"plan"`
	Bin        string       `json:"bin"`
	Runc       string       `json:"runc"`
	Audit      bool         `json:"audit"`
	Lean       bool         `json:"lean"`
	Registries []Registry   `json:"registries"`
}

// Registry is one registry to pull from: references that start with Name are fetched from URL.
type Registry struct {
	Name string `json:"name"`
	URL  string `json:"url"`
	CA   string `json:"ca,omitempty"`
	// Auth is a file that holds user:password.
	Auth string `json:"auth,omitempty"`
}

// Message is one line that the init process writes to its parent.
type Message struct {
	Progress string `json:"progress,omitempty"`
	// Server is set once, when the cluster is ready.
	Server string `json:"server,omitempty"`
	Error  string `json:"error,omitempty"`
}

// Write stores the spec in the cluster's folder and returns the file.
func (s Spec) Write(dir clusterdir.Dir) (string, error) {
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return "", fmt.Errorf("encode the node's spec: %w", err)
	}
	if err := os.MkdirAll(dir.Path("config"), 0o700); err != nil {
		return "", fmt.Errorf("write the node's spec: %w", err)
	}
	path := dir.Path("config", "node.json")
	return path, pki.Write(path, b)
}

// Read is the inverse of Write.
func Read(path string) (Spec, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return Spec{}, fmt.Errorf("read the node's spec: %w", err)
	}
	var s Spec
	if err := json.Unmarshal(b, &s); err != nil {
		return Spec{}, fmt.Errorf("read the node's spec %s: %w", path, err)
	}
	return s, nil
}

// nodeName is the name of the node as an object.
func (s Spec) nodeName() string { return s.Name + "-0" }
