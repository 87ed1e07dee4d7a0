package render

import (
	"encoding/json"
	"fmt"

	"github.com/slipway-build/slipway/worker/runner"
)

// The document in front of the objects of a chart: the deployer keeps Helm's record with it, and no cluster gets it.
const (
	headVersion = "slipway.dev/v1"
	headKind    = "HelmRelease"
)

// head is what Helm wants to know of a release beyond its objects. It is one line of JSON, which is YAML too.
func head(f tree, service string, work runner.Render) ([]byte, error) {
	if !work.HelmRelease || work.Using != runner.UsingHelm {
		return nil, nil
	}
	c, values, err := f.chartOf(work)
	if err != nil {
		return nil, err
	}
	data, err := json.Marshal(map[string]any{
		"apiVersion": headVersion, "kind": headKind, "metadata": map[string]any{"name": service},
		"chart": c.Metadata, "defaults": c.Values, "values": values,
	})
	if err != nil {
		return nil, fmt.Errorf("%s: the values cannot be kept in a Helm release: %w", work.Path, err)
	}
	return append(data, "\n---\n"...), nil
}

// isHead reports an object that only rendering itself may write.
func isHead(apiVersion, kind string) bool { return apiVersion == headVersion && kind == headKind }
