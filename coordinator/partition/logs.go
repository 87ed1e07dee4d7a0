package partition

import (
	"context"
	"time"

	"github.com/slipway-build/slipway/coordinator/logarchive"
	"github.com/slipway-build/slipway/coordinator/run"
)

// Logs moves what attempts wrote into archives; logarchive.Archiver is the real one.
type Logs interface {
	// Archive stores the logs of a run, reads them back, and answers the blob that names them.
	Archive(ctx context.Context, run string, logs []logarchive.Log) (blob string, err error)
	// Purge takes logs away from where they were written to.
	Purge(ctx context.Context, logs []logarchive.Log) error
	// Remove takes an archive away; that it is gone already is no error.
	Remove(ctx context.Context, blob string) error
}

const (
	// logsAtOnce is how many runs have their logs archived in one go.
	logsAtOnce = 8
	// logsAgain is how long logs wait that could not be archived.
	logsAgain = time.Minute
	// unpurged is how long ago a run may have ended whose frames the owner before may have left.
	unpurged = time.Hour
)

// logkeep is the upkeep of logs, which goes on beside that of the state: it takes as long as
// logs are long.
type logkeep struct {
	busy   bool
	next   time.Time            // not before
	again  map[string]time.Time // runs whose logs could not be archived: not before
	purged bool                 // what the owner before left
	// awaited: runs that were to leave the state did not, for their logs were not archived.
	awaited bool
}

// logsOf are those of a run that has ended.
func (o *owner) logsOf(r *run.Run) []logarchive.Log {
	var out []logarchive.Log
	r.Written(func(t *run.Task, a run.Attempt) {
		l := logarchive.Log{Task: t.Index, Attempt: a.Number, Size: a.LogSize}
		l.Key.Token, l.Key.Epoch, l.Key.Counter = o.token(r, t), a.Fence.Epoch, a.Fence.Counter
		if a.Outcome == run.OutcomeLost || a.Outcome == "" { // nobody said how long it is
			l.Size = -1
		}
		out = append(out, l)
	})
	return out
}

// keepLogs begins what is due for logs.
func (o *owner) keepLogs() {
	keep, up := o.cfg.Upkeep, &o.up.logs
	if keep.Logs == nil || up.busy || o.broken != nil || o.at.Before(up.next) {
		return
	}
	if !up.purged {
		up.purged = true
		o.purgeLeft()
		return
	}
	runs := o.st.Written(o.at.Add(-keep.LogsAfter), logsAtOnce, func(id string) bool { return o.at.Before(up.again[id]) })
	if len(runs) == 0 {
		up.next = o.at.Add(min(keep.LogsAfter, upkeepEvery))
		return
	}
	o.archiveLogs(runs)
}

// archiveLogs stores the logs of runs that have ended. Their frames are purged once it is
// durable that they are stored: an owner that dies in the middle leaves blobs that the next
// one stores again.
func (o *owner) archiveLogs(runs []*run.Run) {
	type ended struct {
		id   string
		logs []logarchive.Log
	}
	var all []ended
	for _, r := range runs {
		all = append(all, ended{r.ID, o.logsOf(r)})
	}
	o.beside(&o.up.logs.busy, func(ctx context.Context) func() {
		var events []run.Event
		var stored []logarchive.Log
		failed := map[string]error{}
		for _, r := range all {
			blob, err := o.cfg.Upkeep.Logs.Archive(ctx, r.id, r.logs)
			if err != nil {
				failed[r.id] = err
				continue
			}
			events = append(events, run.LogsArchived{Run: r.id, Blob: blob})
			stored = append(stored, r.logs...)
		}
		return func() {
			for _, r := range all {
				delete(o.up.logs.again, r.id)
			}
			for id, err := range failed {
				if o.up.logs.again == nil {
					o.up.logs.again = map[string]time.Time{}
				}
				o.up.logs.again[id] = o.at.Add(logsAgain)
				o.cfg.Log.WarnContext(o.ctx, "the logs of a run were not archived, trying again later", "partition", o.cfg.Number, "run", id, "err", err)
			}
			o.emit(events...)
			if o.up.logs.awaited {
				o.up.logs.awaited, o.up.archives = false, time.Time{}
			}
			if len(stored) > 0 {
				o.after = append(o.after, func() { o.purgeLogs(stored) })
			}
		}
	})
}

// purgeLogs takes away frames of logs that are archived. That some are left does no harm:
// readers go to the archive.
func (o *owner) purgeLogs(logs []logarchive.Log) {
	o.beside(&o.up.logs.busy, func(ctx context.Context) func() {
		if err := o.cfg.Upkeep.Logs.Purge(ctx, logs); err != nil && ctx.Err() == nil {
			o.cfg.Log.WarnContext(ctx, "frames of archived logs are still there", "partition", o.cfg.Number, "err", err)
		}
		return func() {}
	})
}

// purgeLeft purges again what the owner before may not have.
func (o *owner) purgeLeft() {
	var left []logarchive.Log
	for _, r := range o.st.Runs("", 1<<30) {
		if r.Logs != "" && o.at.Sub(r.FinishedAt) < o.cfg.Upkeep.LogsAfter+unpurged {
			left = append(left, o.logsOf(r)...)
		}
	}
	if len(left) > 0 {
		o.purgeLogs(left)
	}
}

// removeLogs takes away archives of logs that nobody knows any more.
func (o *owner) removeLogs(ctx context.Context, blobs []string) {
	for _, blob := range blobs {
		if o.cfg.Upkeep.Logs == nil {
			return
		}
		if err := o.cfg.Upkeep.Logs.Remove(ctx, blob); err != nil && ctx.Err() == nil {
			o.cfg.Log.WarnContext(ctx, "an archive of logs that nobody knows is still there", "blob", blob, "err", err)
		}
	}
}
