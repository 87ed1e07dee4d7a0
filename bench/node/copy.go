package node

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
)

// Copy is the least that can make logs durable: a gRPC server as the library makes it that
// appends what streams send to one file. What has come while the disk was busy is written
// and synced together; then it is acknowledged, and handed to who reads that stream.
type Copy struct {
	Dir string `json:"dir"`
}

const (
	appendMethod = "/bench.Copy/Append"
	readMethod   = "/bench.Copy/Read"
	// waiting is how many pieces may wait for the disk.
	waiting = 128
)

// written is a piece of a stream.
type written struct {
	to   *copied
	data []byte
}

// copied is a stream whose bytes are copied.
type copied struct {
	acked chan int64    // bytes that are durable: the newest number
	read  chan []byte   // what is durable, for the reader; nil: nobody reads
	ended chan struct{} // closed when all of it is durable
	gone  chan struct{} // closed when the reader is
}

type copier struct {
	file   *os.File
	pieces chan written

	mu      sync.Mutex
	readers map[byte]*copied // by stream, from before it is appended to
}

// Run serves until the input ends.
func (c Copy) Run(ctx context.Context, in io.Reader, out io.Writer) error {
	file, err := os.OpenFile(filepath.Join(c.Dir, "copy"), os.O_CREATE|os.O_TRUNC|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open the file: %w", err)
	}
	defer file.Close()
	w := &copier{file: file, pieces: make(chan written, waiting), readers: map[byte]*copied{}}
	server := grpc.NewServer(grpc.ForceServerCodecV2(rawCodec{}))
	server.RegisterService(&grpc.ServiceDesc{ServiceName: "bench.Copy", HandlerType: (*any)(nil), Streams: []grpc.StreamDesc{
		{StreamName: "Append", Handler: w.append, ServerStreams: true, ClientStreams: true},
		{StreamName: "Read", Handler: w.read, ServerStreams: true, ClientStreams: true},
	}}, struct{}{})
	g, ctx := errgroup.WithContext(ctx)
	g.Go(w.store)
	g.Go(func() error {
		defer close(w.pieces) // every stream has ended
		return serveGRPC(ctx, server, in, out, Ops{"empty": Handle(w.empty)})
	})
	return g.Wait()
}

// empty answers the size of the file, and makes it zero.
func (w *copier) empty(context.Context, struct{}) (any, error) {
	info, err := w.file.Stat()
	if err != nil {
		return nil, fmt.Errorf("look at the file: %w", err)
	}
	return info.Size(), w.file.Truncate(0)
}

// append takes the bytes of one stream, whose first message is its number.
func (w *copier) append(_ any, s grpc.ServerStream) error {
	var first []byte
	if err := s.RecvMsg(&first); err != nil || len(first) != 1 {
		return fmt.Errorf("a stream began with %v: %w", first, err)
	}
	w.mu.Lock()
	c := w.readers[first[0]]
	delete(w.readers, first[0])
	w.mu.Unlock()
	if c == nil {
		c = &copied{ended: make(chan struct{})}
	}
	c.acked = make(chan int64, 1)
	defer close(c.ended)
	var sender sync.WaitGroup
	defer sender.Wait()
	done := make(chan struct{})
	defer close(done)
	sender.Go(func() {
		for {
			select {
			case n := <-c.acked:
				_ = s.SendMsg(binary.BigEndian.AppendUint64(nil, uint64(n))) //nolint:gosec // who appends sees it break
			case <-done:
				return
			}
		}
	})
	for {
		var data []byte
		if err := s.RecvMsg(&data); err != nil { // it has all of its acknowledgements
			return nil
		}
		w.pieces <- written{c, data}
	}
}

// store writes what has come, syncs, and says so.
func (w *copier) store() error {
	durable := map[*copied]int64{}
	for first := range w.pieces {
		batch := []written{first}
		for range len(w.pieces) {
			batch = append(batch, <-w.pieces)
		}
		for _, p := range batch {
			if _, err := w.file.Write(p.data); err != nil {
				return fmt.Errorf("append: %w", err)
			}
		}
		if err := syscall.Fdatasync(int(w.file.Fd())); err != nil {
			return fmt.Errorf("sync: %w", err)
		}
		for _, p := range batch {
			durable[p.to] += int64(len(p.data))
			if p.to.read != nil {
				select {
				case p.to.read <- p.data:
				case <-p.to.gone:
				}
			}
			select {
			case <-p.to.acked: // the number before
			default:
			}
			p.to.acked <- durable[p.to]
		}
	}
	return nil
}

// read hands out what a stream is sent, once it is durable.
func (w *copier) read(_ any, s grpc.ServerStream) error {
	var number []byte
	if err := s.RecvMsg(&number); err != nil || len(number) != 1 {
		return fmt.Errorf("a reader began with %v: %w", number, err)
	}
	c := &copied{read: make(chan []byte, waiting), ended: make(chan struct{}), gone: make(chan struct{})}
	defer close(c.gone)
	w.mu.Lock()
	w.readers[number[0]] = c
	w.mu.Unlock()
	if err := s.SendMsg([]byte(ready)); err != nil {
		return err //nolint:wrapcheck // the stream's own status
	}
	for {
		select {
		case data := <-c.read:
			if err := s.SendMsg(data); err != nil {
				return err //nolint:wrapcheck // the stream's own status
			}
		case <-c.ended:
			if len(c.read) == 0 {
				return nil
			}
		case <-s.Context().Done():
			return errors.New("the reader went away")
		}
	}
}
