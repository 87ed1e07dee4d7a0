//go:build !linux

package cluster

import (
	"context"
	"errors"

	"github.com/slipway-build/slipway/scripts/devcluster/clusterdir"
)

func upNode(context.Context, clusterdir.Dir, Options) error {
	return errors.New("--kind node: a real node needs Linux; use --kind kwok")
}

func cleanNode(context.Context, clusterdir.Dir, func(string, ...any)) error { return nil }
