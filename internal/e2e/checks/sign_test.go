//go:build e2e

package checks_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/slipway-build/slipway/internal/devfarm"
	"github.com/slipway-build/slipway/internal/devfarm/devfarmtest"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

const lockFile = `{ "name": "api", "lockfileVersion": 3, "packages": {
  "": { "name": "api", "dependencies": { "left-pad": "1.3.0" } },
  "node_modules/left-pad": { "version": "1.3.0", "license": "WTFPL" }
} }`

// TestImagesAreSigned: of a run for a release, with provenance and an SBOM that names Go modules and npm packages. What is
// signed is read back from the registry as anybody would, with the public key; that cosign itself accepts it is tested in
// scripts/cosigncheck.
func TestImagesAreSigned(t *testing.T) {
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatalf("needs the package busybox-static: %v", err)
	}
	dir := t.TempDir()
	key, file := signingKey(t, dir)
	repo := devfarmtest.NewRepository(t, filepath.Join(dir, "repositories", "vault"))
	repo.Commit(t, map[string]string{
		"slipway.yaml":   "version: 1\nproject: vault\nservices:\n  api:\n    path: api\n    build: { sbom: true }\n    test: { unit: { run: \"test -f go.mod\", in: tests } }\n",
		"api/Dockerfile": dockerfile, "api/busybox": string(busybox), "api/version": "1\n", "api/go.mod": "module example.com/api\n\ngo 1.26\n\nrequire golang.org/x/text v0.20.0\n", "api/package-lock.json": lockFile,
	})
	var conf devfarm.Config
	farm := devfarmtest.StartWith(t, func(c *devfarm.Config) { c.SigningKey = file; conf = *c }, filepath.Dir(repo.Dir))
	r := farm.Run(t, repo)
	var signed *pb.Task
	for _, task := range r.GetTasks() {
		if task.GetId() == "sign/api" {
			signed = task
		}
	}
	if r.GetState() != pb.RunState_RUN_STATE_SUCCEEDED || !strings.HasPrefix(signed.GetMessage(), "signed with key ") || !strings.HasSuffix(signed.GetMessage(), ", with its provenance, with its SBOM") {
		t.Fatalf("%s: %v\n%s", r.GetState(), signed, tasks(r))
	}

	image, err := name.NewDigest(signed.GetResult().GetImage(), name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	with := remote.WithAuthFromKeychain(dockerConfig(t, conf))
	beside := func(suffix string) ([]v1.Layer, []v1.Descriptor) {
		t.Helper()
		tag := image.Context().Tag(strings.Replace(image.DigestStr(), ":", "-", 1) + suffix)
		img, err := remote.Image(tag, with)
		if err != nil {
			t.Fatal(err)
		}
		layers, err := img.Layers()
		if err != nil {
			t.Fatal(err)
		}
		m, err := img.Manifest()
		if err != nil {
			t.Fatal(err)
		}
		return layers, m.Layers
	}
	layers, about := beside(".sig")
	payload := read(t, layers[0])
	signature, err := base64.StdEncoding.DecodeString(about[0].Annotations["dev.cosignproject.cosign/signature"])
	sum := sha256.Sum256(payload)
	if err != nil || !ecdsa.VerifyASN1(&key.PublicKey, sum[:], signature) || !strings.Contains(string(payload), image.DigestStr()) {
		t.Errorf("the signature is not one of the key's over the image: %v\n%s", err, payload)
	}
	kinds := map[string]string{}
	layers, about = beside(".att")
	for i, l := range layers {
		var envelope struct{ Payload []byte }
		if err := json.Unmarshal(read(t, l), &envelope); err != nil {
			t.Fatal(err)
		}
		kinds[about[i].Annotations["predicateType"]] = string(envelope.Payload)
	}
	for kind, want := range map[string][]string{
		"https://spdx.dev/Document":      {"pkg:golang/golang.org/x/text@v0.20.0", "pkg:npm/left-pad@1.3.0", image.DigestStr()[len("sha256:"):]},
		"https://slsa.dev/provenance/v1": {"slipway"},
	} {
		for _, text := range want {
			if !strings.Contains(kinds[kind], text) {
				t.Errorf("%s does not name %s:\n%.2000s", kind, text, kinds[kind])
			}
		}
	}
	again := farm.Run(t, repo)
	reused := slices.ContainsFunc(again.GetTasks(), func(task *pb.Task) bool {
		return task.GetId() == "sign/api" && task.GetState() == pb.TaskState_TASK_STATE_REUSED
	})
	if !reused || again.GetState() != pb.RunState_RUN_STATE_SUCCEEDED {
		t.Errorf("the same commit again: %s\n%s", again.GetState(), tasks(again))
	}
}

// signingKey is a private key in a file.
func signingKey(t *testing.T, dir string) (key *ecdsa.PrivateKey, file string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(dir, "cosign.key")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return key, file
}

// TestWhatIsNotSignedIsNotReleased: what the farm built and signed has all that a policy requires, and another image beside it stops the run before anything is released.
func TestWhatIsNotSignedIsNotReleased(t *testing.T) {
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatalf("needs the package busybox-static: %v", err)
	}
	dir := t.TempDir()
	_, file := signingKey(t, dir)
	targets := filepath.Join(dir, "targets.yaml")
	text := "version: 1\nproject: safe\nclusters: { eu: { labels: { tier: prod } } }\nenvironments:\n  prod:\n    clusters: { tier: prod }\n    namespace: safe\n    policies: [{ name: trusted, require: [signature, provenance, sbom] }]\n"
	if err := os.WriteFile(targets, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	repo := devfarmtest.NewRepository(t, filepath.Join(dir, "repositories", "safe"))
	farm := devfarmtest.StartWith(t, func(c *devfarm.Config) { c.SigningKey, c.Targets = file, targets }, filepath.Dir(repo.Dir))
	repo.Commit(t, map[string]string{
		"slipway.yaml":   "version: 1\nproject: safe\nservices:\n  api:\n    path: api\n    build: { sbom: true }\n    deploy: { health: false }\n",
		"api/Dockerfile": dockerfile, "api/busybox": string(busybox), "api/version": "1\n", "api/go.mod": "module example.com/api\n\ngo 1.26\n",
		"deploy/api/kustomization.yaml": "resources: [pod.yaml]\n",
		"deploy/api/pod.yaml":           "apiVersion: v1\nkind: Pod\nmetadata: { name: api }\nspec: { containers: [{ name: api, image: api }, { name: proxy, image: \"proxy:1\" }] }\n",
	})
	r := farm.Run(t, repo)
	for _, task := range r.GetTasks() {
		switch task.GetId() {
		case "render/api@prod/eu":
			want := "deploy/api/pod.yaml: Pod safe/api: spec.containers[1].image: proxy:1 is not named by digest, and only a digest can be signed: write proxy:1@sha256:…, or require resolved as well (policy trusted, " + targets + ":8:42)"
			if task.GetState() != pb.TaskState_TASK_STATE_FAILED || task.GetMessage() != want {
				t.Errorf("%s: %s\nwant %s", task.GetState(), task.GetMessage(), want)
			}
		case "release", "apply/api@prod/eu":
			if len(task.GetAttempts()) > 0 || task.GetState() != pb.TaskState_TASK_STATE_SKIPPED {
				t.Errorf("%s is %s although an image is refused", task.GetId(), task.GetState())
			}
		}
	}
	if r.GetState() != pb.RunState_RUN_STATE_FAILED {
		t.Errorf("%s\n%s", r.GetState(), tasks(r))
	}
}

// dockerConfig has the credentials of the farm's registry.
func dockerConfig(t *testing.T, c devfarm.Config) authn.Keychain {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(c.State, "secrets", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range found {
		data, err := os.ReadFile(file)
		if err == nil && strings.Contains(string(data), `"auths"`) {
			var doc struct {
				Auths map[string]authn.AuthConfig `json:"auths"`
			}
			if err := json.Unmarshal(data, &doc); err != nil {
				t.Fatal(err)
			}
			return keychain(doc.Auths)
		}
	}
	t.Fatalf("no credentials of a registry in %v", found)
	return nil
}

type keychain map[string]authn.AuthConfig

func (k keychain) Resolve(r authn.Resource) (authn.Authenticator, error) {
	auth, ok := k[r.RegistryStr()]
	if !ok {
		return nil, errors.New("no credentials of " + r.RegistryStr())
	}
	return authn.FromConfig(auth), nil
}

func read(t *testing.T, l v1.Layer) []byte {
	t.Helper()
	blob, err := l.Compressed()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = blob.Close() }()
	data, err := io.ReadAll(blob)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
