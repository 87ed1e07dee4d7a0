package planner

import "github.com/slipway-build/slipway/coordinator/pipeline"

// patterns of artifacts by name; nil: there are none.
func patterns(list []pipeline.Artifact) map[string]string {
	if len(list) == 0 {
		return nil
	}
	out := make(map[string]string, len(list))
	for _, a := range list {
		out[a.Name] = a.Pattern
	}
	return out
}
