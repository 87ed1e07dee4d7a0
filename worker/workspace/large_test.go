package workspace_test

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/slipway-build/slipway/worker/workspace"
)

// TestManyFiles: a large repository is there whole, and so is a file that it has more often
// than a file may have names.
func TestManyFiles(t *testing.T) {
	const n = 100_000
	items := make([]item, 0, n)
	for i := range n {
		items = append(items, file(fmt.Sprintf("services/s%d/f%d", i/1000, i), "x"))
	}
	f, _ := get(t, open(t, 0, workspace.Limits{}), of("c1"), &origin{commits: map[string][]item{"c1": items}})
	if got := len(files(t, f.Dir)); got != n || f.Files != n || f.Fetched != 1 {
		t.Errorf("%d files, %+v", got, f)
	}
	if data := content(t, f.Dir, items[n-1].Path); data != "x" {
		t.Errorf("the last one has %q", data)
	}
}

// TestStrangeNames arrive as they are.
func TestStrangeNames(t *testing.T) {
	items := []item{}
	for _, name := range []string{
		"sp ace/\u00fc/\u65e5\u672c\u8a9e.txt", "new\nline/a\tb", `back\slash "quoted"`, "-rf", "*", "\xff\xfe", "#1/$HOME", "e\u0301", "\u00e9", "...", "..x/y",
	} {
		items = append(items, file(name, name))
	}
	f, _ := get(t, open(t, 0, workspace.Limits{}), of("c1"), &origin{commits: map[string][]item{"c1": items}})
	for _, i := range items {
		if data := content(t, f.Dir, i.Path); data != i.content {
			t.Errorf("%q has %q", i.Path, data)
		}
	}
}

// TestAFullDisk is not the repository's mistake.
func TestAFullDisk(t *testing.T) {
	for what, options := range map[string]string{"bytes": "size=8k", "files": "size=1m,nr_inodes=8"} {
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
			items := []item{file("a", "1"), file("b", "2"), file("c", "3"), file("d/e", "4")}
			c := openIn(t, dir, 0, workspace.Limits{})
			_, _, err := c.Acquire(t.Context(), of("c1"), &origin{commits: map[string][]item{"c1": items}})
			if !errors.Is(err, syscall.ENOSPC) || errors.Is(err, workspace.ErrRefused) {
				t.Errorf("got %v, want that there is no space, and not that the source is refused", err)
			}
			if left, err := os.ReadDir(filepath.Join(dir, "sources")); err != nil || len(left) > 0 {
				t.Errorf("left: %v, %v", left, err)
			}
		})
	}
}

// FuzzCheckout: nothing outside of the folder is touched, whatever names there are.
func FuzzCheckout(f *testing.F) {
	f.Add("a", "b", "a", 1, 3)
	f.Add("../a", "a/../../b", "../x", 3, 4)
	f.Add("a", "a/b", "/etc", 3, 1)
	f.Fuzz(func(t *testing.T, one, two, content string, kind, other int) {
		outer := t.TempDir()
		c, err := workspace.Open(workspace.Config{Dir: filepath.Join(outer, "in"), Log: slog.New(slog.DiscardHandler), Limits: workspace.Limits{Bytes: 1 << 16, Files: 10}})
		if err != nil {
			t.Fatal(err)
		}
		o := &origin{commits: map[string][]item{"c": {entry(one, workspace.Kind(kind), content), entry(two, workspace.Kind(other), content)}}}
		if _, release, err := c.Acquire(t.Context(), of("c"), o); err == nil {
			release()
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if entries, _ := os.ReadDir(outer); len(entries) != 1 {
			t.Errorf("something was written outside: %v", entries)
		}
		if entries, _ := os.ReadDir(filepath.Join(outer, "in")); len(entries) != 1 { // the lock
			t.Errorf("something was written beside the folders: %v", entries)
		}
	})
}
