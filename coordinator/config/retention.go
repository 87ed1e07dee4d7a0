package config

import "time"

// Journal is how short its replay is kept.
type Journal struct {
	// SnapshotRecords and SnapshotMiB are how much is behind the newest snapshot of a partition
	// when another is taken, whichever comes first.
	SnapshotRecords int `yaml:"snapshot_records"`
	SnapshotMiB     int `yaml:"snapshot_mib"`
}

// Logs is where what attempts write is until it is archived.
type Logs struct {
	// MaxGiB bounds the stream of logs: the oldest are dropped beyond it. The same in the
	// whole farm. Zero is 8, or as many as NATS has room for.
	MaxGiB int `yaml:"max_gib"`
	// ArchiveAfter is how long after the end of a run its logs are archived.
	ArchiveAfter time.Duration `yaml:"archive_after"`
}

// Artifacts are what tests leave.
type Artifacts struct {
	// Keep is for how long, since one was stored last.
	Keep time.Duration `yaml:"keep"`
	// MaxGiB bounds all together: those that were stored longest ago are removed beyond it. NATS must have room for it.
	MaxGiB int `yaml:"max_gib"`
	// MaxMiB bounds the files of one artifact, and TaskMiB those of all of a task.
	MaxMiB  int `yaml:"max_mib"`
	TaskMiB int `yaml:"task_mib"`
}

// Retention is how long what has ended is kept.
type Retention struct {
	// Runs stay in memory and in snapshots for so long after their end, and so many of a
	// project at most; then they are archived.
	Runs           time.Duration `yaml:"runs"`
	RunsPerProject int           `yaml:"runs_per_project"`
	// Archives of runs, after their end.
	Archives time.Duration `yaml:"archives"`
	// Logs that are archived, after the end of their run; at most as long as archives.
	Logs time.Duration `yaml:"logs"`
	// Results that may be reused, since they were made, and last green commits of refs.
	Results time.Duration `yaml:"results"`
	// Keys of requests, since they were used.
	Keys time.Duration `yaml:"keys"`
}

const day = 24 * time.Hour

// Bounds of the settings.
const (
	minRecords   = 100
	minRetention = time.Hour
	// minRuns is how many runs of a project say how long its tasks take.
	minRuns = 20
	// minArchiveAfter is longer than the last frames of an attempt are under way.
	minArchiveAfter = time.Second
)

func (c *Config) defaultRetention() {
	number := func(n *int, v int) {
		if *n == 0 {
			*n = v
		}
	}
	period := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	number(&c.Journal.SnapshotRecords, 10_000)
	number(&c.Journal.SnapshotMiB, 64)
	period(&c.Retention.Runs, 30*day)
	number(&c.Retention.RunsPerProject, 1000)
	period(&c.Artifacts.Keep, 30*day)
	number(&c.Artifacts.MaxGiB, 4)
	number(&c.Artifacts.MaxMiB, 512)
	number(&c.Artifacts.TaskMiB, max(1024, c.Artifacts.MaxMiB))
	period(&c.Logs.ArchiveAfter, time.Minute)
	period(&c.Retention.Archives, 365*day)
	period(&c.Retention.Logs, c.Retention.Archives)
	period(&c.Retention.Results, 90*day)
	period(&c.Retention.Keys, 30*day)
}

func (c *Config) validateRetention(bad func(format string, args ...any)) {
	if c.Journal.SnapshotRecords < minRecords {
		bad("journal.snapshot_records: %d, want at least %d", c.Journal.SnapshotRecords, minRecords)
	}
	if c.Journal.SnapshotMiB < 1 {
		bad("journal.snapshot_mib: %d, want at least 1", c.Journal.SnapshotMiB)
	}
	for _, p := range []struct {
		key string
		is  time.Duration
	}{
		{"runs", c.Retention.Runs}, {"archives", c.Retention.Archives}, {"logs", c.Retention.Logs}, {"results", c.Retention.Results}, {"keys", c.Retention.Keys},
	} {
		if p.is < minRetention {
			bad("retention.%s: %s, want at least %s", p.key, p.is, minRetention)
		}
	}
	if c.Retention.RunsPerProject < minRuns {
		bad("retention.runs_per_project: %d, want at least %d", c.Retention.RunsPerProject, minRuns)
	}
	c.validateArtifacts(bad)
	if c.Logs.MaxGiB < 0 {
		bad("logs.max_gib: %d, want at least 1, or nothing for what NATS has room for", c.Logs.MaxGiB)
	}
	if c.Logs.ArchiveAfter < minArchiveAfter {
		bad("logs.archive_after: %s, want at least %s", c.Logs.ArchiveAfter, minArchiveAfter)
	}
	if c.Retention.Logs > c.Retention.Archives {
		bad("retention.logs: %s is more than retention.archives, %s", c.Retention.Logs, c.Retention.Archives)
	}
	if c.Retention.Archives < c.Retention.Runs {
		bad("retention.archives: %s is less than retention.runs, %s", c.Retention.Archives, c.Retention.Runs)
	}
}

func (c *Config) validateArtifacts(bad func(format string, args ...any)) {
	a := c.Artifacts
	if a.Keep < minRetention {
		bad("artifacts.keep: %s, want at least %s", a.Keep, minRetention)
	}
	if a.MaxGiB < 1 {
		bad("artifacts.max_gib: %d, want at least 1", a.MaxGiB)
	}
	if a.MaxMiB < 1 || a.MaxMiB > a.MaxGiB<<10 {
		bad("artifacts.max_mib: %d, want 1 to what artifacts.max_gib is, %d", a.MaxMiB, a.MaxGiB<<10)
	}
	if a.TaskMiB < a.MaxMiB {
		bad("artifacts.task_mib: %d is less than artifacts.max_mib, %d", a.TaskMiB, a.MaxMiB)
	}
}
