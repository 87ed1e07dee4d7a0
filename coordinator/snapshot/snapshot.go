// Package snapshot stores the state of a partition, and runs that left it, as blobs, and
// reads them again. Equal states have equal bytes. It does not say which snapshots are
// valid: the journal does (package journal).
package snapshot

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/slipway-build/slipway/coordinator/artifact"
	"github.com/slipway-build/slipway/coordinator/project"
	"github.com/slipway-build/slipway/coordinator/run"
	"github.com/slipway-build/slipway/coordinator/wire"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// Errors of this package.
var (
	// ErrUnusable: it is gone, or not what was written.
	ErrUnusable = errors.New("the snapshot cannot be used")
	// ErrNewer: it was written by a newer program.
	ErrNewer = errors.New("it is newer than this program")
	// ErrDiffers: what was read back is not the state that was written. This is a defect.
	ErrDiffers = errors.New("the snapshot that was read back is not the state")
)

// partSize is from which size on a part is full. An item is never cut.
const partSize = 1 << 20

// Blobs keeps data by digest; artifact.Store is the real one, and its errors say what is
// wrong.
type Blobs interface {
	Put(ctx context.Context, data []byte) (digest string, err error)
	Get(ctx context.Context, digest string) ([]byte, error)
	// Delete takes a blob away; that it is gone already is no error.
	Delete(ctx context.Context, digest string) error
}

// Head is the place of a snapshot in the journal of its partition.
type Head struct {
	Partition int
	Sequence  uint64 // the last record in it
	Epoch     uint64
	Time      time.Time
	Hash      []byte // of the frame of that record
	Newest    uint64 // the newest record to there that names a snapshot; 0: none
}

// Write stores a state, and reads it back: when it answers, the blob is that state.
func Write(ctx context.Context, blobs Blobs, h Head, st *project.State, plans project.Plans) (digest string, err error) {
	parts, err := encode(h, st.Save())
	if err != nil {
		return "", err
	}
	head := header(h)
	for _, p := range parts {
		d, err := blobs.Put(ctx, p)
		if err != nil {
			return "", fmt.Errorf("store a part of the snapshot: %w", err)
		}
		head.Parts = append(head.Parts, d)
	}
	data, err := marshal(head)
	if err != nil {
		return "", err
	}
	if digest, err = blobs.Put(ctx, data); err != nil {
		return "", fmt.Errorf("store the snapshot: %w", err)
	}
	return digest, verify(ctx, blobs, digest, parts, plans)
}

// verify reads a snapshot back, and the state that comes of it must have the same bytes.
func verify(ctx context.Context, blobs Blobs, digest string, parts [][]byte, plans project.Plans) error {
	h, saved, err := Read(ctx, blobs, digest)
	if err != nil {
		return fmt.Errorf("read back: %w", err)
	}
	st, err := project.Restore(saved, plans)
	if err != nil {
		return fmt.Errorf("read back: %w: %w", ErrDiffers, err)
	}
	again, err := encode(h, st.Save())
	if err != nil {
		return err
	}
	if len(again) != len(parts) {
		return fmt.Errorf("%w: %d parts, want %d", ErrDiffers, len(again), len(parts))
	}
	for i := range parts {
		if string(again[i]) != string(parts[i]) {
			return fmt.Errorf("%w: part %d of %d", ErrDiffers, i+1, len(parts))
		}
	}
	return nil
}

// Read answers what a snapshot holds. ErrUnusable, ErrNewer; any other error is the
// store's, and may be gone later.
func Read(ctx context.Context, blobs Blobs, digest string) (Head, project.Saved, error) {
	m, err := head(ctx, blobs, digest)
	if err != nil {
		return Head{}, project.Saved{}, err
	}
	h := Head{
		Partition: int(m.GetPartition()), Sequence: m.GetSequence(), Epoch: m.GetEpoch(), Time: wire.FromTime(m.GetTime()), Hash: m.GetHash(), Newest: m.GetSnapshot(),
	}
	d := decoder{codec: wire.NewCodec()}
	for i, name := range m.GetParts() {
		part := &pb.SnapshotPart{}
		err := get(ctx, blobs, name, part)
		for _, item := range part.GetItems() {
			if err == nil {
				err = d.item(item)
			}
		}
		if err != nil {
			return Head{}, project.Saved{}, fmt.Errorf("part %d of %d: %w", i+1, len(m.GetParts()), err)
		}
	}
	return h, d.saved, nil
}

// Remove takes a snapshot and its parts out of the store. What is gone already is no error.
func Remove(ctx context.Context, blobs Blobs, digest string) error {
	m, err := head(ctx, blobs, digest)
	if errors.Is(err, ErrUnusable) {
		return nil // its parts are not known
	}
	if err != nil {
		return err
	}
	for _, name := range append(m.GetParts(), digest) { // the head last: it names the parts
		if err := blobs.Delete(ctx, name); err != nil {
			return fmt.Errorf("remove a snapshot: %w", err)
		}
	}
	return nil
}

func header(h Head) *pb.Snapshot {
	return &pb.Snapshot{
		Schema: wire.Schema, LeastReader: wire.LeastReader, Partition: uint32(h.Partition), Sequence: h.Sequence, Epoch: h.Epoch,
		Time: wire.Time(h.Time), Hash: h.Hash, Snapshot: h.Newest,
	}
}

func head(ctx context.Context, blobs Blobs, digest string) (*pb.Snapshot, error) {
	m := &pb.Snapshot{}
	if err := get(ctx, blobs, digest, m); err != nil {
		return nil, err
	}
	return m, readable(m.GetLeastReader())
}

func readable(leastReader int32) error {
	if leastReader > wire.Schema {
		return fmt.Errorf("%w: needs a reader of schema %d, this program has %d: run a newer Slipway", ErrNewer, leastReader, wire.Schema)
	}
	return nil
}

// get reads a message.
func get(ctx context.Context, blobs Blobs, digest string, m proto.Message) error {
	data, err := blobs.Get(ctx, digest)
	switch {
	case errors.Is(err, artifact.ErrNotFound), errors.Is(err, artifact.ErrCorrupt):
		return fmt.Errorf("%w: %w", ErrUnusable, err)
	case err != nil:
		return err
	}
	if err := proto.Unmarshal(data, m); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrUnusable, digest, err)
	}
	return nil
}

func marshal(m proto.Message) ([]byte, error) {
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode a snapshot: %w", err)
	}
	return data, nil
}

// encode is a state as the bytes of parts.
func encode(h Head, saved project.Saved) ([][]byte, error) {
	codec := wire.NewCodec()
	var out [][]byte
	part := &pb.SnapshotPart{Partition: uint32(h.Partition), Sequence: h.Sequence}
	size := 0
	flush := func() error {
		data, err := marshal(part)
		if err != nil {
			return err
		}
		out = append(out, data)
		part.Items, size = nil, 0
		return nil
	}
	add := func(items ...*pb.SnapshotItem) error {
		for _, it := range items {
			part.Items = append(part.Items, it)
			if size += proto.Size(it); size >= partSize {
				if err := flush(); err != nil {
					return err
				}
			}
		}
		return nil
	}
	for _, p := range saved.Projects {
		if err := add(wire.SavedProject(p)...); err != nil {
			return nil, err
		}
	}
	for _, r := range saved.Runs {
		if err := add(&pb.SnapshotItem{Kind: &pb.SnapshotItem_Run{Run: codec.SavedRun(r)}}); err != nil {
			return nil, err
		}
		for _, t := range r.Tasks {
			if err := add(&pb.SnapshotItem{Kind: &pb.SnapshotItem_Task{Task: codec.SavedTask(t)}}); err != nil {
				return nil, err
			}
		}
	}
	return out, flush()
}

// decoder puts items together again.
type decoder struct {
	codec *wire.Codec
	saved project.Saved
}

func (d *decoder) item(m *pb.SnapshotItem) error {
	switch k := m.GetKind().(type) {
	case *pb.SnapshotItem_Project:
		d.saved.Projects = append(d.saved.Projects, project.SavedProject{Name: k.Project.GetName(), Last: k.Project.GetLast()})
		return nil
	case *pb.SnapshotItem_Run:
		d.saved.Runs = append(d.saved.Runs, d.codec.FromSavedRun(k.Run))
		return nil
	case *pb.SnapshotItem_Task:
		if n := len(d.saved.Runs); n > 0 {
			r := &d.saved.Runs[n-1]
			r.Tasks = append(r.Tasks, d.codec.FromSavedTask(k.Task))
			return nil
		}
	default:
		if n := len(d.saved.Projects); n > 0 && wire.FromSavedItem(&d.saved.Projects[n-1], m) {
			return nil
		}
	}
	return fmt.Errorf("%w: an item %T where none belongs", ErrUnusable, m.GetKind())
}

// PutRun stores a run that has ended, and reads it back.
func PutRun(ctx context.Context, blobs Blobs, r *run.Run) (digest string, err error) {
	codec := wire.NewCodec()
	saved := r.Save()
	m := &pb.RunArchive{Schema: wire.Schema, LeastReader: wire.LeastReader, Run: codec.SavedRun(saved)}
	for _, t := range saved.Tasks {
		m.Tasks = append(m.Tasks, codec.SavedTask(t))
	}
	data, err := marshal(m)
	if err != nil {
		return "", err
	}
	if digest, err = blobs.Put(ctx, data); err != nil {
		return "", fmt.Errorf("archive run %s: %w", r.ID, err)
	}
	back := &pb.RunArchive{}
	if err := get(ctx, blobs, digest, back); err != nil {
		return "", fmt.Errorf("archive run %s: read back: %w", r.ID, err)
	}
	if !proto.Equal(m, back) {
		return "", fmt.Errorf("archive run %s: %w", r.ID, ErrDiffers)
	}
	return digest, nil
}

// Run reads a run that was archived.
func Run(ctx context.Context, blobs Blobs, digest string, plans project.Plans) (*run.Run, error) {
	m := &pb.RunArchive{}
	if err := get(ctx, blobs, digest, m); err != nil {
		return nil, fmt.Errorf("read an archived run: %w", err)
	}
	if err := readable(m.GetLeastReader()); err != nil {
		return nil, fmt.Errorf("read an archived run: %w", err)
	}
	codec := wire.NewCodec()
	saved := codec.FromSavedRun(m.GetRun())
	for _, t := range m.GetTasks() {
		saved.Tasks = append(saved.Tasks, codec.FromSavedTask(t))
	}
	p, err := plans(saved.Accepted.PlanHash)
	if err != nil {
		return nil, fmt.Errorf("plan of archived run %s: %w", saved.Accepted.Run, err)
	}
	return run.Restore(saved, p)
}
