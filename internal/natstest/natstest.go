// Package natstest gives tests a real NATS server with JetStream, in the process. It
// is no fake: it is the server that slipway up embeds.
package natstest

import (
	"net"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Server is a server with its own store.
type Server struct {
	opts *server.Options
	srv  *server.Server
}

// Start runs a server until the test ends.
func Start(tb testing.TB) *Server {
	tb.Helper()
	return StartSmall(tb, 0)
}

// StartSmall is Start with room for so many bytes of streams; zero is what the disk has.
func StartSmall(tb testing.TB, room int64) *Server {
	tb.Helper()
	s := &Server{opts: &server.Options{
		JetStream: true, JetStreamMaxStore: room, StoreDir: tb.TempDir(), Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true,
	}}
	s.start(tb)
	tb.Cleanup(s.stop)
	return s
}

// Resize restarts the server with room for so many bytes of streams.
func (s *Server) Resize(tb testing.TB, room int64) {
	tb.Helper()
	s.Without(tb, func() { s.opts.JetStreamMaxStore = room })
}

// Restart stops the server and starts it again with the same store and address.
// Memory streams are gone after it.
func (s *Server) Restart(tb testing.TB) {
	tb.Helper()
	s.Without(tb, func() {})
}

// Without stops the server, does something, and starts it again with the same store and address.
func (s *Server) Without(tb testing.TB, do func()) {
	tb.Helper()
	s.stop()
	do()
	s.start(tb)
}

// URL of the server.
func (s *Server) URL() string { return s.srv.ClientURL() }

// JetStream of a connection that is closed when the test ends.
func (s *Server) JetStream(tb testing.TB) jetstream.JetStream {
	tb.Helper()
	nc, err := nats.Connect(s.URL(), nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond))
	if err != nil {
		tb.Fatalf("connect to NATS: %v", err)
	}
	tb.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		tb.Fatalf("JetStream: %v", err)
	}
	return js
}

func (s *Server) start(tb testing.TB) {
	tb.Helper()
	opts := s.opts.Clone()
	srv, err := server.NewServer(opts)
	if err != nil {
		tb.Fatalf("make NATS server: %v", err)
	}
	srv.Start()
	if !srv.ReadyForConnections(10 * time.Second) {
		tb.Fatal("the NATS server is not ready after 10 s")
	}
	if addr, ok := srv.Addr().(*net.TCPAddr); ok {
		s.opts.Port = addr.Port
	}
	s.srv = srv
}

func (s *Server) stop() {
	s.srv.Shutdown()
	s.srv.WaitForShutdown()
}
