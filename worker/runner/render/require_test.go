package render_test

import (
	"context"
	"encoding/json"
	"net"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/slipway-build/slipway/internal/cosign"
	"github.com/slipway-build/slipway/internal/cosign/cosigntest"
	"github.com/slipway-build/slipway/internal/ociregistry"
	"github.com/slipway-build/slipway/worker/runner"
	"github.com/slipway-build/slipway/worker/runner/render"
	"github.com/slipway-build/slipway/worker/runner/runnertest"
)

type basic struct{ user, password string }

func (b basic) Resolve(authn.Resource) (authn.Authenticator, error) {
	return &authn.Basic{Username: b.user, Password: b.password}, nil
}

// hub is a registry that asks for credentials.
type hub struct {
	host string
	with render.Registries
	stop func()
}

func newHub(t *testing.T) *hub {
	t.Helper()
	server, err := ociregistry.New(ociregistry.Config{Dir: t.TempDir(), MirrorDir: t.TempDir(), Credentials: []ociregistry.Credential{
		{User: "builder", Password: "b", Role: ociregistry.Push}, {User: "bases", Password: "m", Role: ociregistry.Mirror}, {User: "reader", Password: "r", Role: ociregistry.Pull},
	}})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx, l) }()
	h := &hub{host: l.Addr().String(), with: render.Registries{Keychain: basic{"reader", "r"}}}
	h.stop = func() {
		if ctx.Err() != nil {
			return
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(h.stop)
	return h
}

// push has a new image under a tag, and answers its digest.
func (h *hub) push(t *testing.T, repository, tag string) string {
	t.Helper()
	img, err := random.Image(64, 1)
	if err != nil {
		t.Fatal(err)
	}
	digest, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.NewTag(h.host + "/" + repository + ":" + tag)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, mutate.MediaType(img, "application/vnd.docker.distribution.manifest.v2+json"), remote.WithAuth(&authn.Basic{Username: "builder", Password: "b"})); err != nil {
		t.Fatal(err)
	}
	return digest.String()
}

func newKey(t *testing.T) *cosign.Key {
	t.Helper()
	k, err := cosign.LoadKey(cosigntest.Key(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func (h *hub) sign(t *testing.T, image string, key *cosign.Key, a ...cosign.Attestation) {
	t.Helper()
	if _, err := cosign.Sign(t.Context(), image, key, a, cosign.Options{Keychain: basic{"builder", "b"}}); err != nil {
		t.Fatal(err)
	}
}

func attested(builder string) []cosign.Attestation {
	return []cosign.Attestation{
		{PredicateType: cosign.ProvenanceV1, Predicate: json.RawMessage(`{"runDetails": {"builder": {"id": "` + builder + `"}}}`)},
		{PredicateType: cosign.SPDX, Predicate: json.RawMessage(`{"spdxVersion": "SPDX-2.3"}`)},
	}
}

// podOf is a release whose Deployment runs the service's image, and another one beside it.
const podOf = `
-- deploy/api/pod.yaml --
apiVersion: apps/v1
kind: Deployment
metadata: { name: api }
spec:
  template:
    spec:
      initContainers: [{ name: copy, image: "SIDECAR" }]
      containers: [{ name: api, image: api }, { name: proxy, image: "SIDECAR" }]
      volumes: [{ name: data, image: { reference: "SIDECAR" } }, { name: none, emptyDir: {} }]
---
apiVersion: batch/v1
kind: CronJob
metadata: { name: nightly }
spec: { jobTemplate: { spec: { template: { spec: { containers: [{ name: x, image: "SIDECAR" }] } } } } }
`

// carry renders podOf.
func (h *hub) carry(t *testing.T, own, sidecar string, policies ...runner.Policy) (runner.Outcome, string, string) {
	t.Helper()
	w := work(runner.UsingManifests)
	w.Images, w.Policies = map[string]string{"api": own}, policies
	kept, report := blobs{}, &runnertest.Recorder{}
	o := render.New(kept, h.with).Run(t.Context(), runner.Task{ID: "render/api@prod/prod-eu", Service: "api", Workspace: workspace(t, strings.ReplaceAll(podOf, "SIDECAR", sidecar)), Work: w}, report)
	text := ""
	for _, data := range kept {
		text += string(data)
	}
	if o.Kind != runner.Succeeded && text != "" {
		t.Errorf("what is refused was stored:\n%s", text)
	}
	return o, text, report.Log()
}

func requires(things ...string) runner.Policy {
	return runner.Policy{Name: "trusted", Require: things, At: "targets.yaml:14:9"}
}

func fails(t *testing.T, o runner.Outcome, lines ...string) {
	t.Helper()
	if o.Kind != runner.Failed || o.Class != runner.ClassUser {
		t.Errorf("%s %s, want a failure of the user's", o.Kind, o.Class)
	}
	if diff := cmp.Diff(strings.Join(lines, "\n"), o.Message); diff != "" {
		t.Errorf("message (-want +got):\n%s", diff)
	}
}

// TestPinned: every image of every container, wherever it lies.
func TestPinned(t *testing.T) {
	h := newHub(t)
	say := func(object, field string) string {
		line := map[string]string{"Deployment shop/api": "1", "CronJob shop/nightly": "11"}[object]
		return "deploy/api/pod.yaml:" + line + ": " + object + ": " + field + ": envoy:1.30 is not named by digest, and what it means may change: write envoy:1.30@sha256:… (policy trusted, targets.yaml:14:9)"
	}
	o, _, _ := h.carry(t, image, "envoy:1.30", requires(runner.RequirePinned))
	fails(t, o, say("Deployment shop/api", "spec.template.spec.containers[1].image"), say("Deployment shop/api", "spec.template.spec.initContainers[0].image"),
		say("Deployment shop/api", "spec.template.spec.volumes[0].image.reference"), say("CronJob shop/nightly", "spec.jobTemplate.spec.template.spec.containers[0].image"))
	p := requires(runner.RequirePinned)
	p.Kinds, p.Message = []string{"CronJob"}, "pin it"
	o, _, _ = h.carry(t, image, "envoy:1.30", p)
	fails(t, o, strings.Replace(strings.Replace(say("CronJob shop/nightly", "spec.jobTemplate.spec.template.spec.containers[0].image"), ": envoy:1.30 is", ": pin it [envoy:1.30 is", 1), "… (", "…] (", 1))
	p = requires(runner.RequirePinned)
	p.Warn = true
	if o, _, log := h.carry(t, image, "envoy:1.30", p); o.Kind != runner.Succeeded || strings.Count(log, "warning: deploy/api/pod.yaml:1: Deployment shop/api: spec.template.spec") != 3 {
		t.Errorf("a warning: %v\n%s", o, log)
	}
	for patterns, ok := range map[string]bool{"docker.io/library/envoy": false, "docker.io": false, "docker.io/*/env*": false, "docker.io/lib": true, "docker.io/library/envoy/x": true, "quay.io docker.io": false, "*": false} {
		p = requires(runner.RequirePinned)
		p.Images = strings.Fields(patterns)
		if o, _, _ := h.carry(t, image, "envoy:1.30", p); (o.Kind == runner.Succeeded) != ok {
			t.Errorf("%s: %v", patterns, o)
		}
	}
	// Pinned is what manifests say, not what is made of them.
	tag := h.host + "/proxy:1"
	h.push(t, "proxy", "1")
	if o, _, _ := h.carry(t, image, tag, requires(runner.RequireResolved), requires(runner.RequirePinned)); o.Kind != runner.Failed {
		t.Errorf("pinned by another policy: %v", o)
	}
	o, _, _ = h.carry(t, image, "Envoy:1.30", requires(runner.RequirePinned))
	if o.Kind != runner.Failed || !strings.Contains(o.Message, `"Envoy:1.30" names no image: `) {
		t.Errorf("no image: %v", o)
	}
}

// TestResolved: a tag becomes what it means, and one that has moved away from the digest beside it is refused with both.
func TestResolved(t *testing.T) {
	h := newHub(t)
	tag := h.host + "/proxy:1"
	before := h.push(t, "proxy", "1")
	o, text, log := h.carry(t, image, tag, requires(runner.RequireResolved))
	if o.Kind != runner.Succeeded || strings.Count(text, tag+"@"+before) != 4 || strings.Contains(log, "not pinned") {
		t.Errorf("%v:\n%s\n%s", o, text, log)
	}
	if diff := cmp.Diff(map[string]string{tag: before}, o.Result.Resolved); diff != "" {
		t.Errorf("what the tag meant (-want +got):\n%s", diff)
	}
	if o, text, _ = h.carry(t, image, tag+"@"+before, requires(runner.RequireResolved)); o.Kind != runner.Succeeded || strings.Count(text, tag+"@"+before) != 4 {
		t.Errorf("as it is: %v:\n%s", o, text)
	}
	after := h.push(t, "proxy", "1")
	moved := "the tag has moved: " + tag + " is " + after + " now, and the manifest says " + before + "; write the new digest, or another tag (policy trusted, targets.yaml:14:9)"
	p := requires(runner.RequireResolved)
	p.Kinds = []string{"CronJob"}
	o, _, _ = h.carry(t, image, tag+"@"+before, p)
	fails(t, o, "deploy/api/pod.yaml:11: CronJob shop/nightly: spec.jobTemplate.spec.template.spec.containers[0].image: "+moved)
	p.Warn = true
	if o, text, log := h.carry(t, image, tag+"@"+before, p); o.Kind != runner.Succeeded || !strings.Contains(log, "warning: ") || !strings.Contains(log, moved) || strings.Contains(text, after) {
		t.Errorf("a warning: %v\n%s", o, log)
	}
	p.Warn = false
	o, _, _ = h.carry(t, image, h.host+"/proxy:2", p)
	fails(t, o, "deploy/api/pod.yaml:11: CronJob shop/nightly: spec.jobTemplate.spec.template.spec.containers[0].image: the registry has no "+h.host+"/proxy:2 (policy trusted, targets.yaml:14:9)")
}

// TestSigned: each thing that is wrong with what is signed is a refusal of its own.
func TestSigned(t *testing.T) {
	h := newHub(t)
	farm, vendor, stranger := newKey(t), newKey(t), newKey(t)
	p := requires(runner.RequireSignature, runner.RequireProvenance, runner.RequireSBOM)
	p.Images = []string{h.host}
	p.Keys = []runner.PublicKey{{Name: "the key of the farm", PEM: string(farm.Public()), Farm: true}, {Name: "vendor.pub", PEM: string(vendor.Public())}}
	made := func(key *cosign.Key, a ...cosign.Attestation) string {
		ref := h.host + "/shop/api@" + h.push(t, "shop/api", "x")
		if key != nil {
			h.sign(t, ref, key, a...)
		}
		return ref
	}
	own := made(farm, attested(runner.BuilderID)...)
	sidecar := h.host + "/proxy:1@" + h.push(t, "proxy", "1")
	h.sign(t, strings.Replace(sidecar, ":1@", "@", 1), vendor, attested("https://example.com/ci")...)
	if o, _, _ := h.carry(t, own, sidecar, p); o.Kind != runner.Succeeded {
		t.Fatalf("what is signed: %v", o)
	}
	refusal := func(image, reason string) string {
		return "deploy/api/pod.yaml:1: Deployment shop/api: spec.template.spec.containers[0].image: " + image + ": " + reason + " (policy trusted, targets.yaml:14:9)"
	}
	forged := func(what string) string {
		return "its " + what + " is forged, damaged or somebody else's: of 1 beside it none is signed with the key of the farm or vendor.pub"
	}
	for image, reasons := range map[string][]string{
		made(nil): {"it has no signature", "it has no signed provenance", "it has no signed SBOM"},
		made(stranger, attested(runner.BuilderID)...):      {forged("signature"), forged("provenance"), forged("SBOM")},
		made(farm, attested(runner.BuilderID)[:1]...):      {"it has no signed SBOM"},
		made(farm, attested("https://example.com/ci")...):  {`its provenance names the builder "https://example.com/ci": expected "` + runner.BuilderID + `"`},
		h.host + "/gone@sha256:" + strings.Repeat("0", 64): {"the registry has no such image"},
	} {
		var want []string
		for _, reason := range reasons {
			want = append(want, refusal(image, reason))
		}
		o, _, _ := h.carry(t, image, sidecar, p)
		fails(t, o, want...)
	}
	p.Kinds = []string{"CronJob"}
	h.push(t, "proxy", "2")
	o, _, _ := h.carry(t, own, h.host+"/proxy:2", p)
	fails(t, o, "deploy/api/pod.yaml:11: CronJob shop/nightly: spec.jobTemplate.spec.template.spec.containers[0].image: "+h.host+"/proxy:2 is not named by digest, and only a digest can be signed: write "+
		h.host+"/proxy:2@sha256:…, or require resolved as well (policy trusted, targets.yaml:14:9)")
	p.Require = append(p.Require, runner.RequireResolved)
	if o, _, _ = h.carry(t, own, h.host+"/proxy:2", p); o.Kind != runner.Failed || !strings.Contains(o.Message, "/proxy:2@sha256:") || !strings.Contains(o.Message, "it has no signature") {
		t.Errorf("resolved first: %v", o)
	}
}

// TestRegistryDown: what cannot be told is the farm's to try again, a warning where the policy warns, and no excuse for what another policy refuses.
func TestRegistryDown(t *testing.T) {
	h := newHub(t)
	own := h.host + "/shop/api@" + h.push(t, "shop/api", "x")
	h.stop()
	signature, tags := requires(runner.RequireSignature), requires(runner.RequireResolved)
	signature.Keys = []runner.PublicKey{{Name: "k", PEM: string(newKey(t).Public())}}
	for what, p := range map[string]runner.Policy{"signature": signature, "resolved": tags} {
		o, _, _ := h.carry(t, own, h.host+"/proxy:1@sha256:"+strings.Repeat("1", 64), p)
		if o.Kind != runner.Errored || o.Class != runner.ClassInfra || !strings.Contains(o.Message, "it cannot be told: ") || !strings.Contains(o.Message, "registry not answering") || !strings.Contains(o.Message, "(policy trusted, targets.yaml:14:9)") {
			t.Errorf("%s: %v", what, o)
		}
	}
	refuses := runner.Policy{Name: "no", CEL: "false", At: "targets.yaml:20:9"}
	if o, _, _ := h.carry(t, own, own, signature, refuses); o.Kind != runner.Failed || strings.Contains(o.Message, "cannot be told") {
		t.Errorf("refused as well: %v", o)
	}
	signature.Warn = true
	if o, _, log := h.carry(t, own, own, signature); o.Kind != runner.Succeeded || !strings.Contains(log, "it cannot be told: ") {
		t.Errorf("a warning: %v\n%s", o, log)
	}
	h.with.Keychain = basic{"reader", "wrong"}
	again := newHub(t)
	own = again.host + "/shop/api@" + again.push(t, "shop/api", "x")
	signature.Warn = false
	if o, _, _ := h.carry(t, own, own, signature); o.Kind != runner.Errored || !strings.Contains(o.Message, "registry_auth of the worker must allow it to pull") {
		t.Errorf("credentials: %v", o)
	}
}
