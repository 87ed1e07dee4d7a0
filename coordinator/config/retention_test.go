package config_test

import (
	"strings"
	"testing"
	"time"

	"github.com/slipway-build/slipway/coordinator/config"
)

func TestRetentionIsBounded(t *testing.T) {
	var c config.Config
	c.Default()
	if c.Retention.Runs != 720*time.Hour || c.Retention.RunsPerProject != 1000 || c.Journal.SnapshotRecords != 10000 || c.Journal.SnapshotMiB != 64 {
		t.Errorf("defaults: %+v %+v", c.Journal, c.Retention)
	}
	c.Journal = config.Journal{SnapshotRecords: 99, SnapshotMiB: -1}
	c.Retention = config.Retention{Runs: time.Minute, RunsPerProject: 19, Archives: time.Second, Results: time.Minute, Keys: time.Minute, Logs: time.Hour}
	if (c.Artifacts != config.Artifacts{Keep: 720 * time.Hour, MaxGiB: 4, MaxMiB: 512, TaskMiB: 1024}) {
		t.Errorf("defaults: %+v", c.Artifacts)
	}
	c.Artifacts = config.Artifacts{Keep: time.Minute, MaxGiB: -1, MaxMiB: 512, TaskMiB: 100}
	c.Logs = config.Logs{MaxGiB: -1, ArchiveAfter: time.Millisecond}
	err := c.Validate()
	if err == nil {
		t.Fatal("nothing is wrong")
	}
	for _, want := range []string{
		"journal.snapshot_records: 99, want at least 100", "journal.snapshot_mib: -1, want at least 1", "retention.runs: 1m0s, want at least 1h0m0s",
		"retention.results: 1m0s", "artifacts.keep: 1m0s, want at least 1h0m0s", "artifacts.max_gib: -1, want at least 1", "artifacts.max_mib: 512, want", "artifacts.task_mib: 100 is less than artifacts.max_mib, 512", "retention.keys: 1m0s", "retention.logs: 1h0m0s is more than retention.archives, 1s", "logs.max_gib: -1, want at least 1", "logs.archive_after: 1ms, want at least 1s", "retention.runs_per_project: 19, want at least 20", "retention.archives: 1s is less than retention.runs, 1m0s",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not said:\n%v", want, err)
		}
	}
}
