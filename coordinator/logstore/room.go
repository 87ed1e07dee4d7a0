package logstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/nats-io/nats.go/jetstream"
)

// Bounds of the stream where nothing is said: NATS sets the whole of it aside, and has no
// stream whose whole it could not hold.
const (
	MaxBytes = 8 << 30
	minBytes = 64 << 20
)

// What NATS answers when it cannot set aside what a stream may have, alone and in a cluster
// (JSStorageResourcesExceededErr, JSInsufficientResourcesErr, JSClusterNoPeersErrF in the errors of nats-server).
const (
	errStorage   = 10047
	errResources = 10023
	errNoPeers   = 10005
)

// makeStream makes a stream, or sets it anew. Where its size is not said it is the largest
// that NATS has room for. One that NATS has no room for any more, but holds, is used as it is.
func makeStream(ctx context.Context, js jetstream.JetStream, cfg jetstream.StreamConfig, log *slog.Logger) (jetstream.Stream, error) {
	said := cfg.MaxBytes > 0
	if !said {
		cfg.MaxBytes = MaxBytes
	}
	for {
		s, err := js.CreateOrUpdateStream(ctx, cfg)
		if err == nil && !said && cfg.MaxBytes < MaxBytes {
			log.WarnContext(ctx, "NATS has little room, and so have logs that are not archived: give its volume more, or say logs.max_gib", "bytes", cfg.MaxBytes, "usual", int64(MaxBytes))
		}
		if !short(err) {
			return s, err
		}
		if held, gone := js.Stream(ctx, cfg.Name); gone == nil && (held.CachedInfo().Config.MaxBytes == cfg.MaxBytes || !said) {
			log.WarnContext(ctx, "NATS has less room than its streams may take: give its volume more", "stream", cfg.Name, "err", err)
			return held, nil
		}
		if said || cfg.MaxBytes <= minBytes {
			return nil, err
		}
		cfg.MaxBytes /= 2
	}
}

// short reports that NATS has no room for a stream.
func short(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && (api.ErrorCode == errStorage || api.ErrorCode == errResources || api.ErrorCode == errNoPeers)
}

func opening(err error) error {
	if short(err) {
		return fmt.Errorf("open log store: NATS has no room for it: give its volume more (it uses three quarters of what is free, or jetstream.max_file_store), or lower logs.max_gib: %w", err)
	}
	return fmt.Errorf("open log store: %w", err)
}
