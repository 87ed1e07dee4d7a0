package partition

import (
	"fmt"
	"slices"
	"time"

	"github.com/slipway-build/slipway/coordinator/plan"
	"github.com/slipway-build/slipway/coordinator/project"
	"github.com/slipway-build/slipway/coordinator/run"
)

// Tests are copies of what runs of a project have taught about its tests, by id.
func (tx *Tx) Tests(name string) []project.Test { return tx.o.st.Look(name).Tests() }

// test finds one that was carried out not long ago.
func (tx *Tx) test(name, id string) (project.Test, error) {
	all := tx.Tests(name)
	i := slices.IndexFunc(all, func(t project.Test) bool { return t.ID == id })
	if i < 0 {
		return project.Test{}, fmt.Errorf("test %q of project %q: %w: it was not carried out lately", id, name, ErrNotFound)
	}
	return all[i], nil
}

// Quarantine has the failure of a case not fail its test, in runs that are planned from now on.
func (tx *Tx) Quarantine(name, id string, c plan.TestName, by, reason string, days int) (project.Test, error) {
	if _, err := tx.test(name, id); err != nil {
		return project.Test{}, err
	}
	if days == 0 {
		days = plan.QuarantineDays
	}
	until := tx.o.at.Add(time.Duration(days) * 24 * time.Hour)
	tx.o.emit(run.Quarantined{Project: name, Test: id, Case: c, By: by, Reason: reason, Until: until, Release: plan.QuarantineRelease})
	return tx.test(name, id)
}

// Release lets a case out of quarantine, and forgets that it failed.
func (tx *Tx) Release(name, id string, c plan.TestName, by, reason string) (project.Test, error) {
	if _, ok := tx.o.st.Project(name).Case(id, c); !ok {
		return project.Test{}, fmt.Errorf("case %q of test %q of project %q: %w: it did not fail lately, and is in no quarantine", c, id, name, ErrNotFound)
	}
	tx.o.emit(run.Released{Project: name, Test: id, Case: c, By: by, Reason: reason})
	return tx.test(name, id)
}
