package affected

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"maps"
	"slices"
	"strconv"
)

// The digests below cover exactly the fields of their inputs. A field that is added
// to one changes every digest of that kind, which costs one run of everything.

// BuildInputs is everything that the image of a service depends on.
type BuildInputs struct {
	Service    string            // the image is pushed under its name
	Objects    map[string]string // repository path → git object id at the commit
	Images     map[string]string // build context → build digest of the service whose image it is
	Bases      map[string]string // base image → digest that it resolved to
	Dockerfile string            //
	Context    string            // folder
	Target     string            //
	Args       map[string]string //
	Secrets    map[string]string // id of a mount → name of the secret; never its value
	Platform   string            //
	Push       string            // repository that the image is pushed to
	Provenance bool              //
	SBOM       bool              //
	Runner     string            // version of what builds
	Scope      string            // trust scope: what an untrusted run made is not for a trusted one
}

// TestInputs is everything that the outcome of a test depends on.
type TestInputs struct {
	Build  string            // build digest of the service
	Run    string            //
	In     string            //
	Target string            //
	Env    map[string]string //
	Secret map[string]string // environment variable → name of the secret; never its value
	Report string            //
	Runner string            // version of what runs it

	Sidecars string // how they are defined; empty: none
	List     string // command that names what is split; empty: none
	// Artifacts are the files that are kept of it, by name; none: none are.
	Artifacts map[string]string
	// Coverage are files that are read of it; empty: none are.
	Coverage string
	// Use are artifacts of other tests that it is given: folder → digest of that test's inputs, and the name.
	Use map[string]string

	Split string // what decides which part of that is the shard's; empty: it is all of the test
}

// ScanInputs is everything that a scan depends on.
type ScanInputs struct {
	Objects    map[string]string // repository path → git object id at the commit
	Using      string            //
	Manifests  string            // folder
	Dockerfile string            //
	Level      string            //
	Deny       []string          // sorted
	Advisories string            // digest of what packages are compared with
	Tool       string            // digest of the test that a tool of the user's is; empty: the worker's own
	Runner     string            // version of what scans
	Scope      string            // trust scope
}

// RenderInputs is everything that rendered manifests depend on, but for the image: a
// build of equal digest may have made another one. Who reuses manifests compares it.
type RenderInputs struct {
	Service     string
	Build       string            // build digest of the service; empty: it has no image
	Images      map[string]string // further image name → service and build digest; empty: none
	Objects     map[string]string // repository path → git object id at the commit
	Path        string            // overlay that is rendered
	Using       string
	Values      []string // files of values, in order
	HelmRelease bool
	Jobs        string // how they are defined; empty: none
	Health      string // "port/path"; empty: none
	Project     string
	Environment string
	Cluster     string
	Namespace   string
	Runner      string
	Policies    string // what they say, wherever they stand; empty: none
}

// BuildDigest is the identity of a service's image: "sha256:…".
func BuildDigest(in BuildInputs) string {
	e := newEncoder("slipway/build/1")
	e.text(in.Service)
	e.table(in.Objects)
	e.table(in.Images)
	e.table(in.Bases)
	e.text(in.Dockerfile)
	e.text(in.Context)
	e.text(in.Target)
	e.table(in.Args)
	e.text(in.Platform)
	e.text(in.Push)
	e.flag(in.Provenance)
	e.text(in.Runner)
	e.text(in.Scope)
	e.names(in.Secrets)
	if in.SBOM { // what has none keeps the digest that it had before there were any
		e.text("sbom")
	}
	return e.sum()
}

// SignInputs is everything that a signature depends on, but for the image, which who reuses it compares.
type SignInputs struct {
	Build string // build digest of the service
	Key   string // that signs
}

// SignDigest is the identity of the signature of an image.
func SignDigest(in SignInputs) string {
	e := newEncoder("slipway/sign/1")
	e.text(in.Build)
	e.text(in.Key)
	return e.sum()
}

// TestDigest is the identity of a test's outcome.
func TestDigest(in TestInputs) string {
	e := newEncoder("slipway/test/1")
	e.text(in.Build)
	e.text(in.Run)
	e.text(in.In)
	e.text(in.Target)
	e.table(in.Env)
	e.text(in.Report)
	e.text(in.Runner)
	e.names(in.Secret)
	if in.Sidecars != "" {
		e.text(in.Sidecars)
	}
	if in.List != "" || in.Split != "" { // what has neither keeps the digest that it had before there were any
		e.text("list")
		e.text(in.List)
		e.text(in.Split)
	}
	if len(in.Artifacts) > 0 { // as above
		e.text("artifacts")
		e.table(in.Artifacts)
	}
	if in.Coverage != "" { // as above
		e.text("coverage")
		e.text(in.Coverage)
	}
	if len(in.Use) > 0 { // as above
		e.text("use")
		e.table(in.Use)
	}
	return e.sum()
}

// ScanDigest is the identity of what a scan finds.
func ScanDigest(in ScanInputs) string {
	e := newEncoder("slipway/scan/1")
	e.table(in.Objects)
	e.text(in.Using)
	e.text(in.Manifests)
	e.text(in.Dockerfile)
	e.text(in.Level)
	e.text(strconv.Itoa(len(in.Deny)))
	for _, id := range in.Deny {
		e.text(id)
	}
	e.text(in.Advisories)
	e.text(in.Tool)
	e.text(in.Runner)
	e.text(in.Scope)
	return e.sum()
}

// RenderDigest is the identity of rendered manifests.
func RenderDigest(in RenderInputs) string {
	e := newEncoder("slipway/render/2")
	e.text(in.Service)
	e.text(in.Build)
	e.table(in.Objects)
	e.text(in.Path)
	e.text(in.Using)
	e.text(strconv.Itoa(len(in.Values)))
	for _, file := range in.Values {
		e.text(file)
	}
	e.text(in.Jobs)
	e.text(in.Health)
	e.text(in.Project)
	e.text(in.Environment)
	e.text(in.Cluster)
	e.text(in.Namespace)
	e.text(in.Runner)
	if len(in.Images) > 0 || in.HelmRelease || in.Policies != "" { // what has none keeps the digest that it had before there were any
		e.table(in.Images)
	}
	if in.HelmRelease {
		e.text("helm release")
	}
	if in.Policies != "" {
		e.text("policies")
		e.text(in.Policies)
	}
	return e.sum()
}

// encoder writes fields so that no two lists of fields have the same bytes: each
// begins with its length, and the first names what is encoded.
type encoder struct{ h hash.Hash }

func newEncoder(domain string) *encoder {
	e := &encoder{h: sha256.New()}
	e.text(domain)
	return e
}

func (e *encoder) size(n int) {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(n)) //nolint:gosec // a length
	e.h.Write(b[:])
}

func (e *encoder) text(s string) {
	e.size(len(s))
	e.h.Write([]byte(s))
}

func (e *encoder) table(m map[string]string) {
	e.size(len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		e.text(k)
		e.text(m[k])
	}
}

// names are the last field of what has secrets. Where there are none, the digest is
// what it was before there were any: nothing is built again for them.
func (e *encoder) names(m map[string]string) {
	if len(m) > 0 {
		e.table(m)
	}
}

func (e *encoder) flag(b bool) {
	if b {
		e.size(1)
	} else {
		e.size(0)
	}
}

func (e *encoder) sum() string { return "sha256:" + hex.EncodeToString(e.h.Sum(nil)) }
