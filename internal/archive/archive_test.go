package archive_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/internal/archive"
)

type file struct {
	archive.Entry

	data string
}

func pack(t *testing.T, files ...file) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := archive.NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		var r io.Reader
		if f.Mode.IsRegular() {
			f.Size, r = int64(len(f.data)), strings.NewReader(f.data)
		}
		if err := w.Add(f.Entry, r); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestWhatIsPackedIsUnpackedAndAlwaysTheSame(t *testing.T) {
	files := []file{
		{archive.Entry{Name: "bin", Mode: fs.ModeDir | 0o700}, ""},
		{archive.Entry{Name: "bin/tool", Mode: 0o710}, "#!/bin/sh\n"},
		{archive.Entry{Name: "bin/same", Mode: fs.ModeSymlink, Link: "tool"}, ""},
		{archive.Entry{Name: "large", Mode: 0o600}, strings.Repeat("0123456789abcdef", 1<<17)},
		{archive.Entry{Name: "none", Mode: fs.ModeDir}, ""},
	}
	data := pack(t, files...)
	if again := pack(t, files...); !bytes.Equal(data, again) {
		t.Error("equal files have unequal archives")
	}
	dir := t.TempDir()
	if _, err := archive.Unpack(dir, bytes.NewReader(data), archive.Rules{}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]fs.FileMode{"bin": fs.ModeDir | 0o755, "bin/tool": 0o755, "bin/same": fs.ModeSymlink | 0o777, "large": 0o644, "none": fs.ModeDir | 0o755} {
		info, err := os.Lstat(filepath.Join(dir, name))
		if err != nil {
			t.Error(err)
			continue
		}
		if info.Mode() != want {
			t.Errorf("%s has mode %s, want %s", name, info.Mode(), want)
		}
		if want.IsRegular() && info.ModTime().Unix() != archive.Epoch {
			t.Errorf("%s is of %s", name, info.ModTime())
		}
	}
	if got, err := os.ReadFile(filepath.Join(dir, "large")); err != nil || string(got) != files[3].data {
		t.Errorf("large: %d bytes, %v", len(got), err)
	}
}

func TestNothingIsUnpackedElsewhere(t *testing.T) {
	for name, f := range map[string]file{
		"parent":    {archive.Entry{Name: "../x", Mode: 0o644}, "x"},
		"absolute":  {archive.Entry{Name: "/etc/x", Mode: 0o644}, "x"},
		"link":      {archive.Entry{Name: "a", Mode: fs.ModeSymlink, Link: "/etc/passwd"}, ""},
		"too large": {archive.Entry{Name: "a", Mode: 0o644}, strings.Repeat("x", 200)},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := archive.Unpack(t.TempDir(), bytes.NewReader(pack(t, f)), archive.Rules{Bytes: 100})
			if !errors.Is(err, archive.ErrRefused) {
				t.Errorf("%v, want ErrRefused", err)
			}
		})
	}
	up := archive.Entry{Name: "a/b/up", Mode: fs.ModeSymlink, Link: "../.."}
	for name, entries := range map[string][]file{
		"a link below a link":    {{up, ""}, {archive.Entry{Name: "a/b/up/x", Mode: fs.ModeSymlink, Link: "../../etc"}, ""}},
		"a link through a link":  {{up, ""}, {archive.Entry{Name: "x", Mode: fs.ModeSymlink, Link: "a/b/up/../etc"}, ""}},
		"a link before the link": {{archive.Entry{Name: "x", Mode: fs.ModeSymlink, Link: "a/b/up/../etc"}, ""}, {up, ""}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			_, err := archive.Unpack(dir, bytes.NewReader(pack(t, entries...)), archive.Rules{})
			if !errors.Is(err, archive.ErrRefused) {
				target, _ := os.Readlink(filepath.Join(dir, "x"))
				t.Errorf("%v, want ErrRefused; x leads to %q", err, target)
			}
		})
	}
	t.Run("cut off", func(t *testing.T) {
		data := pack(t, file{archive.Entry{Name: "a", Mode: 0o644}, strings.Repeat("x", 100_000)})
		if _, err := archive.Unpack(t.TempDir(), bytes.NewReader(data[:len(data)-4]), archive.Rules{}); err == nil || errors.Is(err, archive.ErrRefused) {
			t.Errorf("%v, want an error that is not the archive's fault", err)
		}
	})
	t.Run("another size", func(t *testing.T) {
		w, err := archive.NewWriter(io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Add(archive.Entry{Name: "a", Mode: 0o644, Size: 3}, strings.NewReader("xx")); err == nil || !strings.Contains(err.Error(), "it has 2 bytes, not 3") {
			t.Errorf("%v", err)
		}
	})
}
