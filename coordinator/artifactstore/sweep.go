package artifactstore

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	every = time.Hour
	// notes are kept for so long after what they are of is gone.
	notes = 365 * 24 * time.Hour
	// unfinished is after how long parts that belong to nothing are of an upload that came to nothing.
	unfinished = 24 * time.Hour
)

// Run removes what is kept no longer, until the context ends. Every coordinator may: what one
// removed is gone for the others.
func (s *Store) Run(ctx context.Context) error {
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		if err := s.Sweep(ctx); err != nil && ctx.Err() == nil {
			s.cfg.Log.WarnContext(ctx, "artifacts that are kept no longer are not removed yet", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

// Sweep removes what is kept no longer, notes of what has been gone for a year, and what is left of
// uploads that came to nothing.
func (s *Store) Sweep(ctx context.Context) error {
	all, err := s.list(ctx)
	if err != nil {
		return err
	}
	now := s.cfg.Now()
	for _, a := range all {
		switch {
		case a.Gone == "" && !now.Before(a.At.Add(s.cfg.Keep)):
			err = s.remove(ctx, a, fmt.Sprintf("nothing stored it again for %s (artifacts.keep)", period(s.cfg.Keep)))
		case a.Gone != "" && !now.Before(a.At.Add(notes)):
			err = s.stream.Purge(ctx, jetstream.WithPurgeSubject(prefix+"."+a.sum+".*"), jetstream.WithPurgeSequence(a.seq+1))
		}
		if err != nil {
			return fmt.Errorf("remove artifact %s: %w", a.sum, err)
		}
	}
	if err := s.makeRoom(ctx); err != nil {
		return err
	}
	return s.tidy(ctx, all)
}

func period(d time.Duration) string {
	if d%(24*time.Hour) == 0 {
		return fmt.Sprintf("%d days", d/(24*time.Hour))
	}
	return d.String()
}

// kept is a note with where it is.
type kept struct {
	note

	sum string
	seq uint64
}

// list answers the notes of all artifacts, those that were stored longest ago first.
func (s *Store) list(ctx context.Context) ([]kept, error) {
	c, err := s.stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{FilterSubjects: []string{prefix + ".*." + head}, DeliverPolicy: jetstream.DeliverLastPerSubjectPolicy})
	if err != nil {
		return nil, fmt.Errorf("list artifacts: %w: %w", ErrUnavailable, err)
	}
	info, err := c.Info(ctx)
	if err != nil {
		return nil, fmt.Errorf("list artifacts: %w: %w", ErrUnavailable, err)
	}
	it, err := c.Messages()
	if err != nil {
		return nil, fmt.Errorf("list artifacts: %w: %w", ErrUnavailable, err)
	}
	defer it.Stop()
	bySum := map[string]kept{} // one that is replaced meanwhile comes twice
	for left := info.NumPending; left > 0; {
		m, err := it.Next(jetstream.NextMaxWait(patience))
		if err != nil {
			return nil, fmt.Errorf("list artifacts: %w: %w", ErrUnavailable, err)
		}
		at, err := m.Metadata()
		if err != nil {
			return nil, fmt.Errorf("list artifacts: %w", err)
		}
		left = at.NumPending
		k := kept{sum: strings.Split(m.Subject(), ".")[1], seq: at.Sequence.Stream}
		if err := json.Unmarshal(m.Data(), &k.note); err == nil {
			bySum[k.sum] = k
		}
	}
	out := slices.SortedFunc(maps.Values(bySum), func(a, b kept) int { return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.sum, b.sum)) })
	return out, nil
}

// remove leaves a note in place of an artifact, unless it was stored again.
func (s *Store) remove(ctx context.Context, a kept, why string) error {
	seq, err := s.write(ctx, "sha256:"+a.sum, note{Size: a.Size, At: s.cfg.Now(), Gone: why}, a.seq)
	if errors.Is(err, errChanged) {
		return nil
	}
	if err != nil {
		return err
	}
	s.cfg.Log.InfoContext(ctx, "an artifact is removed", "digest", "sha256:"+a.sum, "bytes", a.Size, "reason", why)
	// Up to the note: what is stored again meanwhile is behind it.
	if err := s.stream.Purge(ctx, jetstream.WithPurgeSubject(prefix+"."+a.sum+".*"), jetstream.WithPurgeSequence(seq)); err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return nil
}

// makeRoom removes those that were stored longest ago until there is room for what is under way.
func (s *Store) makeRoom(ctx context.Context) error {
	bytes := s.under.Load()
	info, err := ask(ctx, func(ctx context.Context) (*jetstream.StreamInfo, error) { return s.stream.Info(ctx) })
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if int64(info.State.Bytes)+bytes <= s.cfg.MaxBytes { //nolint:gosec // far below
		return nil
	}
	all, err := s.list(ctx)
	if err != nil {
		return err
	}
	sum := bytes
	for _, a := range all {
		if a.Gone == "" {
			sum += a.Size
		}
	}
	for _, a := range all {
		if sum <= s.cfg.MaxBytes {
			return nil
		}
		if a.Gone != "" {
			continue
		}
		if err := s.remove(ctx, a, fmt.Sprintf("all artifacts together have more than %d GiB (artifacts.max_gib), and it was stored longest ago", s.cfg.MaxBytes>>30)); err != nil {
			return err
		}
		sum -= a.Size
	}
	return nil
}

// tidy removes parts that belong to nothing and are old.
func (s *Store) tidy(ctx context.Context, all []kept) error {
	uploads := map[string]bool{}
	for _, a := range all {
		uploads[a.sum+"."+a.Upload] = true
	}
	info, err := s.stream.Info(ctx, jetstream.WithSubjectFilter(prefix+".*.*"))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	for at := range info.State.Subjects {
		rest := strings.TrimPrefix(at, prefix+".")
		upload, _, ok := strings.Cut(rest, "-")
		if !ok || uploads[upload] { // the note, or a part of what is there
			continue
		}
		m, err := s.part(ctx, at)
		if errors.Is(err, ErrNotFound) || err == nil && s.cfg.Now().Sub(m.Time) < unfinished {
			continue
		}
		if err != nil {
			return err
		}
		there, err := s.belongs(ctx, upload)
		if err != nil {
			return err
		}
		if there {
			continue
		}
		if err := s.stream.Purge(ctx, jetstream.WithPurgeSubject(at), jetstream.WithPurgeSequence(m.Sequence+1)); err != nil {
			return fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
	}
	return nil
}

// belongs says that the note of an artifact names an upload, "<sum>.<upload>": the list may be of a replica that is behind,
// or without one that was written while it was made.
func (s *Store) belongs(ctx context.Context, upload string) (bool, error) {
	sum, id, _ := strings.Cut(upload, ".")
	n, _, err := s.head(ctx, "sha256:"+sum)
	switch {
	case errors.Is(err, ErrNotFound):
		return false, nil
	case errors.Is(err, ErrCorrupt): // nobody can tell
		return true, nil
	}
	return n.Upload == id, err
}
