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
// holds an index owns its links, namespace and cgroups; a name alone would not tell two clusters apart. The file itself stays.
func Hold(p address.Plan) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join("/run", fmt.Sprintf("slipway-devcluster-%d.lock", p.Index)), os.O_CREATE|os.O_RDWR, 0o600)
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
	return f, nil
}
