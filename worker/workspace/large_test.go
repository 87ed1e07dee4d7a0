package workspace_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/slipway-build/slipway/worker/workspace"
)

// TestManyFiles: a large repository is unpacked whole.
func TestManyFiles(t *testing.T) {
	const n = 100_000
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := range n {
		h := tar.Header{Typeflag: tar.TypeReg, Name: fmt.Sprintf("services/s%d/f%d", i/1000, i), Mode: 0o644, Size: 1}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	size, err := workspace.Extract(dir, &b, workspace.Limits{})
	if err != nil || size != n {
		t.Fatalf("%d bytes, %v", size, err)
	}
	files := 0
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			files++
		}
		return err
	})
	if err != nil || files != n {
		t.Errorf("%d files, %v", files, err)
	}
}

// TestStrangeNames arrive as they are.
func TestStrangeNames(t *testing.T) {
	names := []string{
		"sp ace/\u00fc/\u65e5\u672c\u8a9e.txt", "new\nline/a\tb", `back\slash "quoted"`, "-rf", "*", "\xff\xfe", "#1/$HOME", "e\u0301", "\u00e9", "...", "..x/y",
	}
	headers := make([]tar.Header, 0, len(names))
	for _, name := range names {
		h := file(name, 0o644)
		h.Format = tar.FormatPAX
		if strings.Contains(name, "\xff") {
			h.Format = tar.FormatGNU // as git writes it
		}
		headers = append(headers, h)
	}
	dir := t.TempDir()
	if _, err := workspace.Extract(dir, bytes.NewReader(archive(t, headers...)), workspace.Limits{}); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
}

// TestAFullDisk is not the repository's mistake.
func TestAFullDisk(t *testing.T) {
	for what, options := range map[string]string{"bytes": "size=4k", "files": "size=1m,nr_inodes=3"} {
		t.Run(what, func(t *testing.T) {
			dir := t.TempDir()
			if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
				t.Skipf("cannot mount a small disk here: %v", err)
			}
			t.Cleanup(func() {
				if err := syscall.Unmount(dir, 0); err != nil {
					t.Error(err)
				}
			})
			headers := []tar.Header{file("a", 0o644), file("b", 0o644), file("c", 0o644), file("d/e", 0o644)}
			_, err := workspace.Extract(dir, bytes.NewReader(archive(t, headers...)), workspace.Limits{})
			if !errors.Is(err, syscall.ENOSPC) || errors.Is(err, workspace.ErrRefused) {
				t.Errorf("got %v, want that there is no space, and not that the source is refused", err)
			}
		})
	}
}
