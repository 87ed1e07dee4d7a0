package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// NATS is a server whose every write is on the disk before it is acknowledged: the module
// of nats-server in a process of its own, with sync_interval: always.
type NATS struct {
	Store string `json:"store"`
}

// Address is what a process is reached by.
type Address struct {
	URL string `json:"url"`
}

// Run serves until the input ends.
func (n NATS) Run(ctx context.Context, in io.Reader, out io.Writer) error {
	s, err := server.NewServer(&server.Options{
		JetStream: true, StoreDir: n.Store, SyncAlways: true, Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true,
		JetStreamMaxMemory: 4 << 30, JetStreamMaxStore: 64 << 30,
	})
	if err != nil {
		return fmt.Errorf("make NATS server: %w", err)
	}
	s.Start()
	defer func() { s.Shutdown(); s.WaitForShutdown() }()
	if !s.ReadyForConnections(30 * time.Second) {
		return errors.New("the NATS server is not ready after 30 s")
	}
	return Serve(ctx, in, out, Address{URL: s.ClientURL()}, Ops{})
}
