package clientfile_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-build/slipway/internal/clientfile"
)

func TestFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	if _, err := clientfile.Read(dir); !errors.Is(err, clientfile.ErrNone) {
		t.Errorf("no file: %v", err)
	}
	want := clientfile.File{Address: "127.0.0.1:7420", Token: "t", CAFile: "/ca", Web: "http://127.0.0.1:7421", Mirror: &clientfile.Mirror{Registry: "127.0.0.1:7423", Prefix: "docker.io", User: "u", Password: "p"}}
	for range 2 {
		if err := clientfile.Write(dir, want); err != nil {
			t.Fatal(err)
		}
	}
	got, err := clientfile.Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	name := filepath.Join(dir, clientfile.Name)
	if err := os.Chmod(name, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := clientfile.Read(dir); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("readable by others: %v", err)
	}
	if err := os.WriteFile(name, []byte("addr: x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(name, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := clientfile.Read(dir); err == nil || !strings.Contains(err.Error(), "addr") {
		t.Errorf("wrong key: %v", err)
	}
	for range 2 {
		if err := clientfile.Remove(dir); err != nil {
			t.Error(err)
		}
	}
}
