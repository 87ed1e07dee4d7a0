package runner

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"
)

// diskEvery is how often a disk is asked while work runs: often enough that what is
// written in between is less than a reserve.
const diskEvery = 200 * time.Millisecond

// errDisk ends attempts that would fill the disk.
var errDisk = errors.New("disk reserve used up")

// Disk keeps a reserve free on the disk that builds write to. BuildKit limits what it
// keeps, not what a running step writes; a full disk fails every build beside the guilty
// one, and whatever else the disk is for.
//
// What an attempt wrote is known only of one that runs alone. So when the reserve is used
// up by one, it failed; when by several, none of them is to blame for certain, and each
// is tried again.
type Disk struct {
	path    string
	reserve int64
	free    func(path string) (int64, error)
	room    func(ctx context.Context, bytes int64) error

	mu      sync.Mutex
	running int // now
	begun   int // ever
}

// NewDisk watches the disk of a folder, of which reserve bytes are to stay free. room is
// asked to make so many bytes free, of what nobody needs, before work is refused.
func NewDisk(path string, reserve int64, room func(ctx context.Context, bytes int64) error) *Disk {
	return &Disk{path: path, reserve: reserve, free: free, room: room}
}

// Check answers an error where the disk cannot be asked.
func (d *Disk) Check() error {
	_, err := d.free(d.path)
	return err
}

func free(path string) (int64, error) {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(path, &fs); err != nil {
		return 0, fmt.Errorf("ask how much of the disk of %s is free: %w", path, err)
	}
	return int64(fs.Bavail) * int64(fs.Bsize), nil //nolint:gosec,unconvert // the types differ between systems; no disk is that large
}

// Guard is the decorator.
func (d *Disk) Guard() Decorator {
	return func(next Runner) Runner {
		return Func(func(ctx context.Context, t Task, r Report) Outcome {
			before, bad := d.before(ctx, t)
			if bad != nil {
				return *bad
			}
			first := d.begin()
			defer d.end()
			ctx, cancel := context.WithCancelCause(ctx)
			watch := make(chan struct{})
			go func() {
				defer close(watch)
				d.watch(ctx, usedUp{path: d.path, free: before, reserve: d.reserve, alone: first}, cancel)
			}()
			o := next.Run(ctx, t, r)
			full := errors.Is(context.Cause(ctx), errDisk)
			why := context.Cause(ctx)
			cancel(nil)
			<-watch
			if !full || o.Kind == Succeeded {
				return o
			}
			var u *usedUp
			o.Kind, o.Class, o.Message = Errored, ClassInfra, fmt.Sprintf("%s was stopped: %v", t.ID, why)
			if errors.As(why, &u) && u.alone > 0 {
				o.Kind, o.Class = Failed, ClassUser
				o.Message += during(o.Steps)
			}
			return o
		})
	}
}

// before is how much is free when an attempt begins, or why it cannot.
func (d *Disk) before(ctx context.Context, t Task) (int64, *Outcome) {
	bytes, err := d.free(d.path)
	if err == nil && bytes < d.reserve {
		// Twice as much, or the next attempt would be back here at once.
		if err = d.room(ctx, 2*d.reserve); err == nil {
			bytes, err = d.free(d.path)
		}
	}
	if err != nil {
		o := Err("%s was not begun: %v", t.ID, err)
		return 0, &o
	}
	if bytes < d.reserve {
		o := Err("%s was not begun: the disk of BuildKit (%s) has %s free, of which %s are kept free (disk.reserve_mib in worker.yaml), and nothing in BuildKit's cache is left to remove: make room there",
			t.ID, d.path, mebibytes(bytes), mebibytes(d.reserve))
		return 0, &o
	}
	return bytes, nil
}

// Short says why nothing should write to the disk that nobody waits for; empty: there is room. It is careful: what it
// holds back ends before builds would be.
func (d *Disk) Short() string {
	bytes, err := d.free(d.path)
	if err == nil && bytes >= 2*d.reserve {
		return ""
	}
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("the disk of BuildKit (%s) has %s free, less than twice what is kept free", d.path, mebibytes(bytes))
}

// begin answers a number by which alone knows the attempt; 0 when others run already.
func (d *Disk) begin() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.running++
	d.begun++
	if d.running > 1 {
		return 0
	}
	return d.begun
}

func (d *Disk) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.running--
}

// last is the number of the attempt that began last.
func (d *Disk) last() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.begun
}

// watch cancels when the reserve is used up.
func (d *Disk) watch(ctx context.Context, u usedUp, cancel context.CancelCauseFunc) {
	tick := time.NewTicker(diskEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now, err := d.free(d.path)
		if err == nil && now < d.reserve {
			u.left = now
			if u.alone != d.last() {
				u.alone = 0
			}
			cancel(&u)
			return
		}
	}
}

// usedUp says what became of the reserve.
type usedUp struct {
	path                string
	free, left, reserve int64
	alone               int // number of an attempt beside which no other ran; else 0
}

func (u *usedUp) Unwrap() error { return errDisk }

func (u *usedUp) Error() string {
	who := "it wrote "
	if u.alone == 0 {
		who = "it and what ran beside it wrote "
	}
	return fmt.Sprintf("%s%s to the disk of BuildKit (%s), which has %s left, and %s are kept free (disk.reserve_mib in worker.yaml)",
		who, mebibytes(u.free-u.left), u.path, mebibytes(u.left), mebibytes(u.reserve))
}

func mebibytes(n int64) string { return fmt.Sprintf("%d MiB", n>>20) }
