package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/slipway-build/slipway/internal/session"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
	"github.com/slipway-build/slipway/worker/workspace"
)

// chunk is the size of a frame of a blob.
const chunk = 256 << 10

// origin reads sources from the coordinator in the name of a lease.
type origin struct {
	coordinator pb.WorkerServiceClient
	lease       *pb.LeaseRef
}

// List is workspace.Origin's.
func (o origin) List(ctx context.Context, s workspace.Source, held []string) (string, []workspace.Entry, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := o.coordinator.ListSource(ctx, &pb.ListSourceRequest{Lease: o.lease, Commit: s.Commit, Paths: s.Paths, Held: held})
	if err != nil {
		return "", nil, fmt.Errorf("ask for the list: %w", err)
	}
	identity, list := "", []workspace.Entry(nil)
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return identity, list, nil
		}
		if err != nil {
			return "", nil, err
		}
		identity = cmp.Or(identity, m.GetIdentity())
		for _, e := range m.GetEntries() {
			kind, err := kindOf(e.GetKind())
			if err != nil {
				return "", nil, fmt.Errorf("%q: %w", e.GetPath(), err)
			}
			list = append(list, workspace.Entry{
				Path: string(e.GetPath()), Kind: kind, ID: workspace.Content{Blob: string(e.GetBlob()), SHA256: string(e.GetSha256())},
			})
		}
	}
}

func kindOf(k pb.SourceEntry_Kind) (workspace.Kind, error) {
	switch k {
	case pb.SourceEntry_KIND_FILE:
		return workspace.File, nil
	case pb.SourceEntry_KIND_EXECUTABLE:
		return workspace.Executable, nil
	case pb.SourceEntry_KIND_LINK:
		return workspace.Link, nil
	case pb.SourceEntry_KIND_FOLDER:
		return workspace.Folder, nil
	case pb.SourceEntry_KIND_UNSPECIFIED:
	}
	return 0, fmt.Errorf("this worker does not know what %s is: it is older than the coordinator", k)
}

// Read is workspace.Origin's.
func (o origin) Read(ctx context.Context, s workspace.Source, identity string, wanted []int, take func(size int64, content io.Reader) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	bits := make([]byte, wanted[len(wanted)-1]/8+1)
	for _, i := range wanted {
		bits[i/8] |= 1 << (i % 8)
	}
	stream, err := o.coordinator.ReadSource(ctx, &pb.ReadSourceRequest{Lease: o.lease, Commit: s.Commit, Paths: s.Paths, Identity: identity, Wanted: bits})
	if err != nil {
		return fmt.Errorf("ask for content: %w", err)
	}
	in := &content{recv: stream.Recv}
	for _, i := range wanted {
		if err := in.open(uint32(i)); err != nil {
			return err
		}
		if err := take(in.size, in); err != nil {
			return err
		}
	}
	return nil
}

// content reads what is in the parts of one entry after the other.
type content struct {
	recv  func() (*pb.ReadSourceResponse, error)
	parts []*pb.SourcePart
	entry uint32
	size  int64
	left  int64 // of the entry, in bytes
}

// open goes on to an entry, which must be the next one.
func (c *content) open(entry uint32) error {
	if err := c.more(); err != nil {
		return err
	}
	if c.left > 0 || c.parts[0].GetEntry() != entry {
		return fmt.Errorf("the coordinator sent content %d instead of %d", c.parts[0].GetEntry(), entry)
	}
	c.entry, c.size = entry, c.parts[0].GetSize()
	c.left = c.size
	if len(c.parts[0].GetData()) == 0 {
		c.parts = c.parts[1:]
	}
	return nil
}

// Read is io.Reader's.
func (c *content) Read(p []byte) (int, error) {
	if c.left == 0 {
		return 0, io.EOF
	}
	if err := c.more(); err != nil {
		return 0, err
	}
	part := c.parts[0]
	if part.GetEntry() != c.entry || len(part.GetData()) == 0 || int64(len(part.GetData())) > c.left {
		return 0, fmt.Errorf("the coordinator sent content %d within %d: %w", part.GetEntry(), c.entry, io.ErrUnexpectedEOF)
	}
	n := copy(p, part.GetData())
	if part.Data = part.GetData()[n:]; len(part.GetData()) == 0 {
		c.parts = c.parts[1:]
	}
	c.left -= int64(n)
	return n, nil
}

// more has a part at hand.
func (c *content) more() error {
	for len(c.parts) == 0 {
		m, err := c.recv()
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
		c.parts = m.GetParts()
	}
	return nil
}

// Blobs stores blobs at the coordinator.
type Blobs struct {
	Coordinator pb.WorkerServiceClient
}

// GetBlob reads a blob by its digest.
func (b Blobs) GetBlob(ctx context.Context, digest string) ([]byte, error) {
	return session.Blobs{Client: b.Coordinator}.Get(ctx, digest)
}

// PutBlob stores data and answers its digest.
func (b Blobs) PutBlob(ctx context.Context, data []byte) (string, error) {
	return session.Insist(ctx, func() (string, error) { return b.put(ctx, data) })
}

func (b Blobs) put(ctx context.Context, data []byte) (string, error) {
	stream, err := b.Coordinator.PutBlob(ctx)
	if err != nil {
		return "", fmt.Errorf("put blob: %w", err)
	}
	for rest := data; len(rest) > 0; {
		n := min(len(rest), chunk)
		// A send that breaks off is explained by the answer.
		if err := stream.Send(&pb.PutBlobRequest{Data: rest[:n]}); err != nil && !errors.Is(err, io.EOF) {
			return "", fmt.Errorf("put blob: %w", err)
		} else if err != nil {
			break
		}
		rest = rest[n:]
	}
	answer, err := stream.CloseAndRecv()
	if err != nil {
		return "", fmt.Errorf("put blob: %w", err)
	}
	return answer.GetDigest(), nil
}
