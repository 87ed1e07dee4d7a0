package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/slipway-build/slipway/internal/engines"
)

// serve is one engine of a farm, until the context ends.
func serve(ctx context.Context, state, name string) error {
	l, err := readLayout(state)
	if err != nil {
		return err
	}
	secrets, err := engines.OpenSecrets(filepath.Join(state, "secrets"))
	if err != nil {
		return err
	}
	switch kind, number, _ := strings.Cut(name, "-"); kind {
	case "nats":
		n, err := strconv.Atoi(number)
		if err != nil || n < 1 || n > len(l.NATS) {
			return fmt.Errorf("no such NATS server: %q", name)
		}
		return serveNATS(ctx, l, state, secrets, n-1)
	case "redis":
		redis, err := engines.StartRedis(l.Redis, secrets)
		if err != nil {
			return err
		}
		<-ctx.Done()
		redis.Close()
		return nil
	case "registry":
		return serveRegistry(ctx, l, state, secrets)
	}
	return fmt.Errorf("no such engine: %q", name)
}

func serveNATS(ctx context.Context, l layout, state string, s *engines.Secrets, i int) error {
	at, err := net.ResolveTCPAddr("tcp", l.NATS[i])
	if err != nil {
		return fmt.Errorf("address of NATS: %w", err)
	}
	name := fmt.Sprintf("nats-%d", i+1)
	server, err := engines.NATS{Name: name, Port: at.Port, Store: filepath.Join(state, "nats", name), Cluster: l.Routes[i], Routes: l.Routes}.Start(s)
	if err != nil {
		return err
	}
	<-ctx.Done()
	server.Shutdown()
	server.WaitForShutdown()
	return nil
}

func serveRegistry(ctx context.Context, l layout, state string, s *engines.Secrets) error {
	server, err := engines.NewRegistry(state, s, slog.New(slog.NewTextHandler(os.Stderr, nil)))
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", l.Registry)
	if err != nil {
		return fmt.Errorf("listen for the registry: %w", err)
	}
	return server.Run(ctx, listener)
}
