package server_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/slipway-build/slipway/internal/rpc"
	pb "github.com/slipway-build/slipway/proto/gen/slipway/v1"
)

// coordinator keeps the other end of the protocol as worker.proto describes it, in
// memory: programs do not import each other, so the real one cannot be used here.
type coordinator struct {
	pb.UnimplementedWorkerServiceServer

	address, token string
	source         []sourceFile

	mu      sync.Mutex
	changed chan struct{} // closed and made anew with every change
	send    func(*pb.SessionResponse)
	hello   *pb.Hello
	grants  map[string]*pb.Grant
	logs    map[string][]byte
	done    map[string]*pb.Completion
	blobs   map[string][]byte
	fetches map[string]int // by name
	beats   []*pb.Heartbeat
}

func startCoordinator(t *testing.T, workspace string) *coordinator {
	t.Helper()
	c := &coordinator{
		token: rpc.NewToken(), source: sourceOf(t, workspace), fetches: map[string]int{}, changed: make(chan struct{}),
		grants: map[string]*pb.Grant{}, logs: map[string][]byte{}, done: map[string]*pb.Completion{}, blobs: map[string][]byte{},
	}
	tokens, err := rpc.NewTokens([]rpc.Token{{Name: "worker", Role: pb.Role_ROLE_WORKER, Hash: rpc.HashToken(c.token)}})
	if err != nil {
		t.Fatal(err)
	}
	srv, err := rpc.NewServer(rpc.ServerOptions{
		Tokens: tokens, Files: []protoreflect.FileDescriptor{pb.File_slipway_v1_worker_proto}, Log: slog.New(slog.DiscardHandler), Grace: 100 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	pb.RegisterWorkerServiceServer(srv.GRPC(), c)
	l, err := srv.Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c.address = l.Addr().String()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	served := make(chan error, 1)
	go func() { served <- srv.Run(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return c
}

func (c *coordinator) Session(st pb.WorkerService_SessionServer) error {
	first, err := st.Recv()
	if err != nil {
		return err
	}
	var sending sync.Mutex
	send := func(m *pb.SessionResponse) {
		sending.Lock()
		defer sending.Unlock()
		_ = st.Send(m)
	}
	send(&pb.SessionResponse{Welcome: &pb.Welcome{Ttl: durationpb.New(5 * time.Second)}})
	c.update(func() { c.hello, c.send = first.GetHello(), send })
	for {
		m, err := st.Recv()
		if err != nil {
			return nil //nolint:nilerr // the worker hung up
		}
		answer := &pb.SessionResponse{}
		c.update(func() { c.take(m, answer) })
		send(answer)
	}
}

func (c *coordinator) take(m *pb.SessionRequest, answer *pb.SessionResponse) {
	for _, r := range m.GetLeaseRequests() {
		if g, ok := c.grants[r.GetToken()]; ok {
			answer.Grants = append(answer.Grants, g)
			continue
		}
		answer.Refusals = append(answer.Refusals, &pb.Refusal{Token: r.GetToken(), Reason: "unknown"})
	}
	if h := m.GetHeartbeat(); h != nil {
		c.beats = append(c.beats, h)
		answer.HeartbeatAck = &pb.HeartbeatAck{Sequence: h.GetSequence()}
	}
	for _, l := range m.GetLogs() {
		token := l.GetLease().GetToken()
		if l.GetOffset() == int64(len(c.logs[token])) {
			c.logs[token] = append(c.logs[token], l.GetData()...)
		}
		answer.LogAcks = append(answer.LogAcks, &pb.LogAck{Lease: l.GetLease(), Offset: int64(len(c.logs[token]))})
	}
	for _, d := range m.GetCompletions() {
		c.done[d.GetLease().GetToken()] = d
		answer.CompletionAcks = append(answer.CompletionAcks, &pb.CompletionAck{Lease: d.GetLease()})
	}
}

func (c *coordinator) ListSource(req *pb.ListSourceRequest, st pb.WorkerService_ListSourceServer) error {
	if slices.Contains(req.GetPaths(), "nowhere") {
		return status.Error(codes.FailedPrecondition, "commit 0123 has no nowhere")
	}
	identity := strings.Join(req.GetPaths(), " ")
	if err := st.Send(&pb.ListSourceResponse{Identity: identity}); err != nil || slices.Contains(req.GetHeld(), identity) {
		return err
	}
	m := &pb.ListSourceResponse{}
	for _, f := range c.source {
		sum := sha256.Sum256(f.data)
		m.Entries = append(m.Entries, &pb.SourceEntry{Path: []byte(f.name), Kind: f.kind, Sha256: sum[:]})
	}
	return st.Send(m)
}

func (c *coordinator) ReadSource(req *pb.ReadSourceRequest, st pb.WorkerService_ReadSourceServer) error {
	for i, f := range c.source {
		if bits := req.GetWanted(); i/8 >= len(bits) || bits[i/8]>>(i%8)&1 == 0 {
			continue
		}
		c.update(func() { c.fetches[f.name]++ })
		size := int64(len(f.data))
		for rest, first := f.data, true; first || len(rest) > 0; first = false {
			n := min(len(rest), 100_000)
			if err := st.Send(&pb.ReadSourceResponse{Parts: []*pb.SourcePart{{Entry: uint32(i), Size: size, Data: rest[:n]}}}); err != nil {
				return err
			}
			rest, size = rest[n:], 0
		}
	}
	return nil
}

func (c *coordinator) PutBlob(st pb.WorkerService_PutBlobServer) error {
	var data []byte
	for {
		m, err := st.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		data = append(data, m.GetData()...)
	}
	digest := fmt.Sprintf("sha256:%x", sha256.Sum256(data))
	c.update(func() { c.blobs[digest] = data })
	return st.SendAndClose(&pb.PutBlobResponse{Digest: digest})
}

func (c *coordinator) update(change func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change()
	close(c.changed)
	c.changed = make(chan struct{})
}

// until waits for a condition, which is asked under the lock after every change.
func (c *coordinator) until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	patience := time.NewTimer(90 * time.Second)
	defer patience.Stop()
	for {
		c.mu.Lock()
		ok, changed := holds(), c.changed
		c.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-patience.C:
			c.mu.Lock()
			defer c.mu.Unlock()
			t.Fatalf("waited for %s; logs: %q; done: %v", what, c.logs, c.done)
		}
	}
}

func (c *coordinator) completion(t *testing.T, token string) *pb.Completion {
	t.Helper()
	c.until(t, "the completion of "+token, func() bool { return c.done[token] != nil })
	c.mu.Lock()
	defer c.mu.Unlock()
	d := c.done[token]
	if d.GetLogSize() != int64(len(c.logs[token])) {
		t.Errorf("%s: %d bytes of log arrived, the worker wrote %d", token, len(c.logs[token]), d.GetLogSize())
	}
	return proto.Clone(d).(*pb.Completion)
}

// grant makes a task known; it is offered where the worker has no queue.
func (c *coordinator) grant(t *testing.T, capability string, g *pb.Grant) {
	t.Helper()
	token := strings.ReplaceAll(g.GetTaskId(), "/", "_")
	g.Lease = &pb.LeaseRef{Token: token, Attempt: 1, Fence: &pb.Fence{Epoch: 1, Counter: uint64(len(c.grants) + 1)}}
	g.Run, g.Project, g.Commit, g.Service = "shop-1", "shop", strings.Repeat("ab", 20), "api"
	c.until(t, "the worker", func() bool { return c.send != nil })
	c.update(func() { c.grants[token] = g })
	c.send(&pb.SessionResponse{Offers: []*pb.Offer{{Token: token, Capability: capability}}})
}

// sourceFile is a file of the one source that there is.
type sourceFile struct {
	name string
	kind pb.SourceEntry_Kind
	data []byte
}

func sourceOf(t *testing.T, dir string) (out []sourceFile) {
	t.Helper()
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		data, err := os.ReadFile(filepath.Join(dir, name))
		kind := pb.SourceEntry_KIND_FILE
		if info.Mode()&0o100 != 0 {
			kind = pb.SourceEntry_KIND_EXECUTABLE
		}
		out = append(out, sourceFile{name, kind, data})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
