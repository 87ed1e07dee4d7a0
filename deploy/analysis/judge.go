package analysis

// Outcome is what one measurement says.
type Outcome int

// Outcomes.
const (
	Unknown Outcome = iota // there was no answer, or none that says anything
	Good                   // within the limits
	Bad                    // beyond a limit
)

// Verdict is what is said of a metric, or of all.
type Verdict string

// Verdicts.
const (
	GoesOn       Verdict = "goes on"      // nothing can be said yet
	Passed       Verdict = "passed"       //
	Failed       Verdict = "failed"       // it is beyond a limit
	Inconclusive Verdict = "inconclusive" // it could not be told
)

// Judge decides about one metric. The zero value tolerates nothing that says nothing, and fails at the first bad measurement.
type Judge struct {
	Failures  int // bad measurements in a row that fail; a good one ends a row, one that says nothing does not
	Tolerated int // measurements in a row that may say nothing

	Count   Count
	verdict Verdict
}

// Count is what was measured. Rows are those that go on.
type Count struct {
	All, Good, Bad, Unknown int
	BadRow, UnknownRow      int
}

// Verdict so far.
func (j *Judge) Verdict() Verdict {
	if j.verdict == "" {
		return GoesOn
	}
	return j.verdict
}

// Observe takes a measurement. After a verdict it changes nothing.
func (j *Judge) Observe(o Outcome) Verdict {
	if j.Verdict() != GoesOn {
		return j.verdict
	}
	c := &j.Count
	c.All++
	switch o {
	case Good:
		c.Good++
		c.BadRow, c.UnknownRow = 0, 0
	case Bad:
		c.Bad++
		c.BadRow++
		c.UnknownRow = 0
	case Unknown:
		c.Unknown++
		c.UnknownRow++
	}
	switch {
	case c.BadRow >= max(1, j.Failures):
		j.verdict = Failed
	case c.UnknownRow > j.Tolerated:
		j.verdict = Inconclusive
	}
	return j.Verdict()
}

// End says what becomes of a metric that nothing was said of: what was never good does not pass.
func (j *Judge) End() Verdict {
	switch {
	case j.Verdict() != GoesOn:
	case j.Count.Good > 0:
		j.verdict = Passed
	case j.Count.Bad > 0:
		j.verdict = Failed
	default:
		j.verdict = Inconclusive
	}
	return j.verdict
}
