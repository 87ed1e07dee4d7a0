package buildkit

import (
	"context"
	"fmt"
	"time"
)

// CacheID names the daemon's cache: another daemon's, and one that began anew, has another name.
func (c *Client) CacheID(ctx context.Context) (string, error) {
	ws, err := c.bk.ListWorkers(ctx)
	if err != nil {
		return "", fmt.Errorf("buildkit at %s does not answer: %w", c.cfg.Address, err)
	}
	if len(ws) == 0 {
		return "", fmt.Errorf("buildkit at %s has no worker: see its log", c.cfg.Address)
	}
	return ws[0].ID, nil
}

// Oldest is when that was used last which nothing in the daemon's cache was used before; zero: there is nothing.
func (c *Client) Oldest(ctx context.Context) (oldest time.Time, err error) {
	records, err := c.bk.DiskUsage(ctx)
	if err != nil {
		return oldest, fmt.Errorf("ask buildkit at %s what it keeps: %w", c.cfg.Address, err)
	}
	for _, r := range records {
		used := r.CreatedAt
		if r.LastUsedAt != nil {
			used = *r.LastUsedAt
		}
		if oldest.IsZero() || used.Before(oldest) {
			oldest = used
		}
	}
	return oldest, nil
}
