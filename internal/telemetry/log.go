package telemetry

import (
	"fmt"
	"io"
	"log/slog"
)

// LogConfig says how a program logs.
type LogConfig struct {
	Format string // text, json; empty: text
	Level  string // debug, info, warn, error; empty: info
}

// NewLogger writes to w.
func NewLogger(w io.Writer, c LogConfig) (*slog.Logger, error) {
	var level slog.Level
	if c.Level != "" {
		if err := level.UnmarshalText([]byte(c.Level)); err != nil {
			return nil, fmt.Errorf("log level %q does not exist; expected debug, info, warn or error", c.Level)
		}
	}
	o := &slog.HandlerOptions{Level: level}
	switch c.Format {
	case "", "text":
		return slog.New(slog.NewTextHandler(w, o)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, o)), nil
	}
	return nil, fmt.Errorf("log format %q does not exist; expected text or json", c.Format)
}
