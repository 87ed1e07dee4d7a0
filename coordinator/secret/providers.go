package secret

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/slipway-build/slipway/coordinator/pipeline"
)

// others are the permissions of a file that everybody on the machine has.
const others fs.FileMode = 0o007

// file reads files of the coordinator's machine.
type file struct{}

func (file) Resolve(_ context.Context, s *pipeline.Secret) ([]byte, error) {
	info, err := os.Stat(s.File)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s does not exist at the coordinator; put the value there, or correct file: at %s", s.File, s.Pos)
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is no file (%s)", s.File, info.Mode().Type())
	case info.Mode().Perm()&others != 0:
		return nil, fmt.Errorf("%s is open to everybody on the coordinator's machine (%s); chmod o= %s (of a volume in Kubernetes: defaultMode: 0440)", s.File, info.Mode().Perm(), s.File)
	}
	f, err := os.Open(s.File)
	if err != nil {
		return nil, fmt.Errorf("%w; let the coordinator's user read it", err)
	}
	defer func() { _ = f.Close() }()
	return io.ReadAll(io.LimitReader(f, MaxSize+1))
}

// env reads the coordinator's environment.
type env struct {
	lookup func(name string) (string, bool)
}

func (e env) Resolve(_ context.Context, s *pipeline.Secret) ([]byte, error) {
	if e.lookup != nil {
		if value, ok := e.lookup(s.Env); ok {
			return []byte(value), nil
		}
	}
	return nil, fmt.Errorf("the coordinator was started without %s in its environment; set it, or correct env: at %s", s.Env, s.Pos)
}
