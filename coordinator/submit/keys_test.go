package submit

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/internal/cosign"
	"github.com/slipway-build/slipway/internal/cosign/cosigntest"
)

// TestPublicKeys of policies lie beside targets.yaml or anywhere, and a mistake is told where they are named.
func TestPublicKeys(t *testing.T) {
	dir, elsewhere := t.TempDir(), filepath.Join(t.TempDir(), "other.pub")
	private := cosigntest.Key(t)
	key, err := cosign.LoadKey(private, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		filepath.Join(dir, "vendor.pub"): key.Public(), elsewhere: append([]byte("# ours\n"), key.Public()...), filepath.Join(dir, "cosign.key"): private, filepath.Join(dir, "large"): make([]byte, 5000),
	} {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	read := func(keys string) error {
		t.Helper()
		file := filepath.Join(dir, "targets.yaml")
		text := "version: 1\nproject: shop\nclusters: { c: { labels: { x: y } } }\nenvironments: { prod: { clusters: { x: y }, namespace: m, policies: [\n{ name: q, require: [pinned] },\n{ name: p, require: [sbom], keys: [" + keys + "] }] } }\n"
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s := &Submitter{cfg: Config{TargetsFile: file}}
		targets, err := s.Targets("shop")
		if err != nil {
			t.Fatal(err)
		}
		if err = publicKeys(targets); err == nil {
			for _, k := range targets.Environments[0].Policies[1].Keys {
				if k.PEM != string(key.Public()) || strings.Contains(k.Name, "BEGIN") {
					t.Errorf("%s: %q", k.Name, k.PEM)
				}
			}
		}
		return err
	}
	inline := strconv.Quote(string(key.Public()))
	if err := read("vendor.pub, " + elsewhere + ", " + inline); err != nil {
		t.Error(err)
	}
	for keys, want := range map[string]string{
		"cosign.key": "targets.yaml:6:36: the key cosign.key of policy p: it is a private key", "vendor.pub, gone.pub": "targets.yaml:6:48: the key gone.pub of policy p: open " + dir + "/gone.pub: no such file",
		"large": "has more than 4096 bytes", strconv.Quote("-----BEGIN PUBLIC KEY-----\nAA==\n-----END PUBLIC KEY-----\n"): "the key in the file of policy p: the public key cannot be read",
	} {
		var problems *ProblemsError
		if err := read(keys); !errors.As(err, &problems) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", keys, err, want)
		}
	}
	if err := publicKeys(nil); err != nil {
		t.Error(err)
	}
}
