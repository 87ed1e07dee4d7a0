package cluster

import (
	"context"
	"errors"

	"github.com/slipway-build/slipway/scripts/devcluster/clusterdir"
)

func upNode(context.Context, clusterdir.Dir, Options) error {
	return errors.New("--kind node: not yet")
}

func cleanNode(context.Context, clusterdir.Dir, func(string, ...any)) error { return nil }
