package node

import (
	"context"
	"fmt"
	"path"

	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// Crash is the folder of manifests of which the candidate crashes, a while after it was ready, in the environment prod.
const Crash = "crash"

// release is what a run brings: a Deployment, what its pods are configured by, which no other run has, a Service, and what
// Helm is told.
func release(g *pb.Grant) []byte {
	crash := "{}"
	if path.Base(g.GetRender().GetPath()) == Crash && g.GetRender().GetTarget().GetEnvironment() == "prod" {
		crash = `{slipway.dev/simulate: crash-after-ready, slipway.dev/simulate-delay: "2s"}`
	}
	return fmt.Appendf(nil, `{"apiVersion": "slipway.dev/v1", "kind": "HelmRelease", "metadata": {"name": "api"}, "chart": {"apiVersion": "v2", "name": "api", "version": "1.0.0"}, "values": {"run": %[1]q}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: %[2]s}, data: {run: %[1]s}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: api}
spec:
  replicas: 2
  selector: {matchLabels: {app: api}}
  template:
    metadata: {labels: {app: api}, annotations: %[3]s}
    spec:
      containers:
        - {name: server, image: "registry.invalid/api:1", env: [{name: RUN, value: %[1]s}], envFrom: [{configMapRef: {name: %[2]s}}]}
---
{apiVersion: v1, kind: Service, metadata: {name: api}, spec: {selector: {app: api}, ports: [{port: 80, targetPort: 8080}]}}
`, g.GetRun(), Settings(g.GetRun()), crash)
}

// Settings is the name of the ConfigMap of a run.
func Settings(run string) string { return "settings-" + run }

// store keeps a blob with the coordinator.
func (h handler) store(ctx context.Context, data []byte) (digest string, err error) {
	s, err := h.blobs.PutBlob(ctx)
	if err != nil {
		return "", fmt.Errorf("store manifests: %w", err)
	}
	_ = s.Send(&pb.PutBlobRequest{Data: data}) // why it broke off, the answer says
	answer, err := s.CloseAndRecv()
	if err != nil {
		return "", fmt.Errorf("store manifests: %w", err)
	}
	return answer.GetDigest(), nil
}
