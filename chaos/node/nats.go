package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// NATS is one server: the module of nats-server in a process of its own, with
// `sync_interval: always`.
type NATS struct {
	Name  string `json:"name"`
	Store string `json:"store"`
	Port  int    `json:"port"`
	// Cluster is the port for the other servers, and Routes are theirs; 0: it is alone.
	Cluster int   `json:"cluster,omitempty"`
	Routes  []int `json:"routes,omitempty"`
}

// Run serves until the input ends.
func (n NATS) Run(_ context.Context, in io.Reader, out io.Writer) error {
	o := &server.Options{
		ServerName: n.Name, JetStream: true, StoreDir: n.Store, SyncAlways: true, Host: "127.0.0.1", Port: n.Port, NoSigs: true, LogFile: n.Store + ".server.log",
		JetStreamMaxMemory: 1 << 30, JetStreamMaxStore: 64 << 30,
	}
	if n.Cluster != 0 {
		// Clients are not told of the other servers: they come through proxies.
		o.Cluster = server.ClusterOpts{Name: "chaos", Host: "127.0.0.1", Port: n.Cluster, NoAdvertise: true}
		for _, p := range n.Routes {
			o.Routes = append(o.Routes, &url.URL{Scheme: "nats", Host: fmt.Sprintf("127.0.0.1:%d", p)})
		}
	}
	s, err := server.NewServer(o)
	if err != nil {
		return fmt.Errorf("make NATS server: %w", err)
	}
	s.ConfigureLogger()
	s.Start()
	defer func() { s.Shutdown(); s.WaitForShutdown() }()
	if !s.ReadyForConnections(30 * time.Second) {
		return errors.New("the NATS server is not ready after 30 s")
	}
	return untilEOF(func() {}, in, out, Ready{Address: s.ClientURL()})
}
