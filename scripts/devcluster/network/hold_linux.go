package network

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/scripts/devcluster/address"
)

// ErrInUse is returned by Hold while another cluster runs on the index.
var ErrInUse = errors.New("in use by a running cluster")

// ErrNotOwner is returned by Down when the links belong to another cluster.
var ErrNotOwner = errors.New("belongs to another cluster")

// Hold takes an index for this process and every process that inherits the file, until all of them have closed it. Whoever
// holds an index owns its links, namespace and cgroups; a name alone would not tell two clusters apart. HeldBy answers what
// was given as holder. The file itself stays.
func Hold(p address.Plan, holder string) (*os.File, error) {
	f, err := os.OpenFile(lockFile(p), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("hold index %d: %w", p.Index, err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("index %d is %w: stop that one, or choose another --index", p.Index, ErrInUse)
		}
		return nil, fmt.Errorf("hold index %d: %w", p.Index, err)
	}
	err = f.Truncate(0)
	if err == nil {
		_, err = f.WriteAt([]byte(holder), 0)
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("hold index %d: %w", p.Index, err)
	}
	return f, nil
}

// HeldBy returns who held an index last. While Hold answers ErrInUse it is who holds it now, or held it an instant ago.
func HeldBy(p address.Plan) (string, error) {
	b, err := os.ReadFile(lockFile(p))
	if err != nil {
		return "", fmt.Errorf("who holds index %d: %w", p.Index, err)
	}
	return string(b), nil
}

func lockFile(p address.Plan) string {
	return filepath.Join("/run", fmt.Sprintf("slipway-devcluster-%d.lock", p.Index))
}
