package submit

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/slipway-build/slipway/coordinator/pipeline"
	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/internal/cosign"
)

// maxKeyFile is how much of a public key's file is read: they have 200 bytes or so.
const maxKeyFile = 4 << 10

// publicKeys reads the keys that the policies of targets name: those that stand there, and files at the coordinator, below the folder
// of targets.yaml where their path is not absolute. t may be nil.
func publicKeys(t *pipeline.Targets) error {
	if t == nil {
		return nil
	}
	report := pipeline.NewReporter()
	for _, e := range t.Environments {
		for _, f := range e.KeyFiles {
			key := &e.Policies[f.Policy].Keys[f.Key]
			public, err := publicKey(*key, filepath.Dir(f.Pos.Path()))
			if err != nil {
				report.Add(f.Pos, "name the file of a public key, as cosign generate-key-pair writes it: cosign.pub", "the key %s of policy %s: %v", cmp.Or(key.Name, "in the file"), e.Policies[f.Policy].Name, err)
				continue
			}
			key.Name, key.PEM = cmp.Or(key.Name, "the key "+public.ID()), string(public.PEM())
		}
	}
	if problems := report.Problems(); len(problems) > 0 {
		return &ProblemsError{problems}
	}
	return nil
}

func publicKey(key plan.PublicKey, folder string) (*cosign.PublicKey, error) {
	if key.PEM != "" {
		return cosign.LoadPublicKey([]byte(key.PEM))
	}
	name := key.Name
	if !filepath.IsAbs(name) {
		name = filepath.Join(folder, name)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxKeyFile {
		return nil, fmt.Errorf("%s has more than %d bytes", name, maxKeyFile)
	}
	return cosign.LoadPublicKey(data)
}
