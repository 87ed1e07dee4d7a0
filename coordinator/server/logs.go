package server

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/slipway-build/slipway/coordinator/artifact"
	"github.com/slipway-build/slipway/coordinator/logarchive"
	"github.com/slipway-build/slipway/coordinator/logstore"
)

const (
	// archivedAtOnce is how many runs have their logs archived at the same time.
	archivedAtOnce = 2
	// usageEvery is how often the stream of logs is measured.
	usageEvery = 30 * time.Second
)

// logMetrics are about the stream of logs, which holds what is not archived yet.
type logMetrics struct {
	used, limit prometheus.Gauge
	lost        prometheus.Counter
}

func newLogMetrics(to prometheus.Registerer) logMetrics {
	m := logMetrics{
		used:  prometheus.NewGauge(prometheus.GaugeOpts{Name: "slipway_log_stream_bytes", Help: "Bytes in the stream of logs: what is not archived yet."}),
		limit: prometheus.NewGauge(prometheus.GaugeOpts{Name: "slipway_log_stream_limit_bytes", Help: "Beyond it the oldest logs are dropped from the stream."}),
		lost:  prometheus.NewCounter(prometheus.CounterOpts{Name: "slipway_log_lost_bytes_total", Help: "Bytes of logs that were dropped before they were archived."}),
	}
	to.MustRegister(m.used, m.limit, m.lost)
	return m
}

func newArchiver(blobs *artifact.Store, logs *logstore.Store, o *observer, log *slog.Logger) *logarchive.Archiver {
	return logarchive.New(logarchive.Config{
		Blobs: blobs, Frames: logs, AtOnce: archivedAtOnce, Log: log, Lost: func(n int64) { o.logs.lost.Add(float64(n)) },
	})
}

// nearly reports that a stream of logs soon drops what is not archived.
func nearly(used, limit int64) bool { return limit > 0 && used >= limit/5*4 }

// watchLogs measures the stream of logs until the context ends, and says loudly when it is
// nearly full.
func (o *observer) watchLogs(ctx context.Context, logs *logstore.Store) error {
	t := time.NewTicker(usageEvery)
	defer t.Stop()
	for {
		used, limit, err := logs.Usage(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			o.log.WarnContext(ctx, "the stream of logs is not measured", "err", err)
		default:
			o.logs.used.Set(float64(used))
			o.logs.limit.Set(float64(limit))
			if nearly(used, limit) {
				o.log.ErrorContext(ctx, "the stream of logs is nearly full of logs that are not archived; beyond its limit the oldest are lost: raise logs.max_gib", "bytes", used, "limit", limit)
			}
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return nil
		}
	}
}
