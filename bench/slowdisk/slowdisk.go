// Package slowdisk is a disk whose fsync takes long, as a network volume's does: a folder
// in memory, seen through a small FUSE file system. Only fsync waits; several wait at once.
package slowdisk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/slipway-build/slipway/bench/node"
)

// Process is the process that answers for the file system.
type Process struct {
	// Dir is where the two folders are made: the one that is seen, and the one behind it.
	Dir  string        `json:"dir"`
	Sync time.Duration `json:"sync"` // how long an fsync takes
}

// Run says the folder, and serves until the input ends.
func (p Process) Run(ctx context.Context, in io.Reader, out io.Writer) error {
	d, err := mount(p.Dir, p.Sync)
	if err != nil {
		return err
	}
	err = node.Serve(ctx, in, out, node.Address{URL: d.path}, node.Ops{
		"syncs": node.Handle(func(context.Context, struct{}) (any, error) { return d.syncs.Load(), nil }),
	})
	return errors.Join(err, d.unmount())
}

// disk is a mounted file system.
type disk struct {
	path   string
	sync   time.Duration
	syncs  atomic.Int64
	server *fuse.Server
}

func mount(dir string, sync time.Duration) (*disk, error) {
	d := &disk{path: filepath.Join(dir, "slow"), sync: sync}
	behind := filepath.Join(dir, "behind")
	for _, f := range []string{d.path, behind} {
		if err := os.Mkdir(f, 0o700); err != nil {
			return nil, fmt.Errorf("make a slow disk: %w", err)
		}
	}
	var st syscall.Stat_t
	if err := syscall.Stat(behind, &st); err != nil {
		return nil, fmt.Errorf("make a slow disk: %w", err)
	}
	root := &fs.LoopbackRoot{Path: behind, Dev: st.Dev}
	top := &entry{LoopbackNode: &fs.LoopbackNode{RootData: root}, disk: d}
	root.RootNode = top
	cached := time.Second // nobody else writes behind it
	var err error
	d.server, err = fs.Mount(d.path, top, &fs.Options{
		AttrTimeout: &cached, EntryTimeout: &cached,
		MountOptions: fuse.MountOptions{
			DirectMountStrict: true, FsName: "slow", Name: "slipway-bench", MaxWrite: 1 << 20, DisableXAttrs: true,
			DisabledCapabilities: fuse.CAP_PASSTHROUGH, // with it the kernel syncs the file behind on its own
		},
	})
	if err != nil {
		return nil, fmt.Errorf("mount a slow disk, which needs root and /dev/fuse: %w", err)
	}
	return d, nil
}

// unmount lets go of the folder even if somebody still has files open in it: they fail.
func (d *disk) unmount() error {
	err := d.server.Unmount()
	if errors.Is(err, syscall.EBUSY) {
		err = syscall.Unmount(d.path, syscall.MNT_DETACH)
	}
	if err != nil {
		return fmt.Errorf("unmount the slow disk: %w", err)
	}
	return nil
}

// entry is a file or a folder.
type entry struct {
	*fs.LoopbackNode

	disk *disk
}

// WrapChild makes everything below as slow.
func (e *entry) WrapChild(_ context.Context, child fs.InodeEmbedder) fs.InodeEmbedder {
	n, ok := child.(*fs.LoopbackNode)
	if !ok {
		return child
	}
	return &entry{LoopbackNode: n, disk: e.disk}
}

// Fsync is slow. The kernel calls it for files that are
// opened with O_SYNC as well, after each write.
func (e *entry) Fsync(ctx context.Context, f fs.FileHandle, flags uint32) syscall.Errno {
	return e.disk.slowly(func() syscall.Errno {
		if file, ok := f.(fs.FileFsyncer); ok {
			return file.Fsync(ctx, flags)
		}
		return 0
	})
}

// OpendirHandle is for the fsync of a folder.
func (e *entry) OpendirHandle(ctx context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	h, flags, errno := e.LoopbackNode.OpendirHandle(ctx, flags)
	if open, ok := h.(openFolder); ok {
		h = &folder{openFolder: open, disk: e.disk}
	}
	return h, flags, errno
}

// openFolder is what can be done with one.
type openFolder interface {
	fs.FileReaddirenter
	fs.FileSeekdirer
	fs.FileReleasedirer
	fs.FileFsyncdirer
}

type folder struct {
	openFolder

	disk *disk
}

func (f *folder) Fsyncdir(ctx context.Context, flags uint32) syscall.Errno {
	return f.disk.slowly(func() syscall.Errno { return f.openFolder.Fsyncdir(ctx, flags) })
}

// slowly does something, and takes as long as an fsync at least.
func (d *disk) slowly(do func() syscall.Errno) syscall.Errno {
	slow := time.NewTimer(d.sync)
	defer slow.Stop()
	d.syncs.Add(1)
	errno := do()
	<-slow.C
	return errno
}
