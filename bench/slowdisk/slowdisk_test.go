package slowdisk

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func mounted(t *testing.T) *disk {
	t.Helper()
	if f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0); err != nil || os.Geteuid() != 0 {
		t.Skip("a mount needs root and /dev/fuse")
	} else {
		_ = f.Close()
	}
	d, err := mount(t.TempDir(), time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.unmount(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func TestWhatIsWrittenIsThere(t *testing.T) {
	d := mounted(t)
	dir := filepath.Join(d.path, "a", "b")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	want := bytes.Repeat([]byte("slow"), 1<<18)
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, want, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file, file+"2"); err != nil {
		t.Fatal(err)
	}
	for _, at := range []string{d.path, filepath.Join(filepath.Dir(d.path), "behind")} {
		if got, err := os.ReadFile(filepath.Join(at, "a", "b", "file2")); err != nil || !bytes.Equal(got, want) {
			t.Errorf("below %s: %d bytes, %v", at, len(got), err)
		}
	}
}

func TestEveryWayToSyncIsSlow(t *testing.T) {
	d := mounted(t)
	// synced is how many syncs something takes, none of which is faster than it may be.
	synced := func(do func() error) int64 {
		t.Helper()
		before, start := d.syncs.Load(), time.Now()
		if err := do(); err != nil {
			t.Fatal(err)
		}
		n := d.syncs.Load() - before
		if took := time.Since(start); took < time.Duration(n)*d.sync {
			t.Errorf("%d syncs took %s", n, took)
		}
		return n
	}
	open := func(flags int) *os.File {
		t.Helper()
		f, err := os.OpenFile(filepath.Join(d.path, "file"), os.O_RDWR|os.O_CREATE|flags, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		return f
	}
	plain, always := open(0), open(os.O_SYNC)
	write := func(f *os.File) func() error {
		return func() error { _, err := f.WriteAt([]byte("x"), 0); return err }
	}
	if n := synced(write(plain)); n != 0 {
		t.Errorf("a write takes %d syncs", n)
	}
	if n := synced(plain.Sync); n != 1 {
		t.Errorf("an fsync takes %d", n)
	}
	if n := synced(write(always)); n != 1 {
		t.Errorf("a write with O_SYNC takes %d syncs", n)
	}
	dir, err := os.Open(d.path)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if n := synced(dir.Sync); n != 1 {
		t.Errorf("an fsync of a folder takes %d", n)
	}
}
