package pairs

import (
	"encoding/json"
	"fmt"
)

// Machine is where a row was measured.
type Machine struct {
	CPU    string  `json:"cpu"`
	Cores  int     `json:"cores"`
	Memory string  `json:"memory"`
	Kernel string  `json:"kernel"`
	Go     string  `json:"go"`
	Load   float64 `json:"load_before"` // of the last minute, before the first pair
	After  float64 `json:"load_after"`
}

// Result is a row's file.
type Result struct {
	Row       string     `json:"row"`
	Unit      string     `json:"unit"`
	What      string     `json:"what"`
	Against   string     `json:"against"`
	Durable   string     `json:"durability"`
	Ours      []float64  `json:"ours"`
	Reference []float64  `json:"reference"`
	Ratio     float64    `json:"ratio_median"`
	CI95      [2]float64 `json:"ratio_ci95"`
	Goal      string     `json:"goal"`
	Met       bool       `json:"met"`
	Machine   Machine    `json:"machine"`
	Commit    string     `json:"commit"`
	Date      string     `json:"date"`
	// CPU seconds of both halves, of the counted pairs.
	OursCPU      []float64 `json:"ours_cpu_seconds"`
	ReferenceCPU []float64 `json:"reference_cpu_seconds"`
	// Raw is every pair, the dropped first one too.
	Raw []Pair `json:"raw_pairs"`
	// Broken invariants; with any, the row does not count.
	Broken []string `json:"broken_invariants"`
	Notes  []string `json:"notes,omitempty"`
	// Parts of a row that counts as its worst; its own figures are those of that part.
	Parts []Part `json:"parts,omitempty"`
}

// Part is one of several things that a row measures.
type Part struct {
	Name  string     `json:"name"`
	Unit  string     `json:"unit"`
	Ratio float64    `json:"ratio_median"`
	CI95  [2]float64 `json:"ratio_ci95"`
	Raw   []Pair     `json:"raw_pairs"`
}

// Worst fills a result from the part whose bad end is the worst, and keeps all of them.
func (r *Result) Worst(parts []Part, goal Goal) error {
	worst := -1
	for i := range parts {
		p := &parts[i]
		s, err := Summarize(p.Raw, goal)
		if err != nil {
			return fmt.Errorf("row %s, %s: %w", r.Row, p.Name, err)
		}
		p.Ratio, p.CI95 = s.Median, s.CI95
		if worst < 0 || goal.Worse(p.CI95, parts[worst].CI95) {
			worst = i
		}
	}
	if worst < 0 {
		return fmt.Errorf("row %s: %w: there is no part", r.Row, ErrTooFew)
	}
	r.Parts, r.Raw, r.Unit = parts, parts[worst].Raw, parts[worst].Unit
	r.Notes = append(r.Notes, "the worst part: "+parts[worst].Name)
	return r.Fill(goal)
}

// Fill works out what a result's raw pairs say. With broken invariants it is not met.
func (r *Result) Fill(goal Goal) error {
	s, err := Summarize(r.Raw, goal)
	if err != nil {
		return fmt.Errorf("row %s: %w", r.Row, err)
	}
	r.Ours, r.Reference, r.Ratio, r.CI95, r.Goal = s.Ours, s.Referred, s.Median, s.CI95, goal.String()
	r.Met = s.Met && len(r.Broken) == 0
	r.OursCPU, r.ReferenceCPU = nil, nil
	for _, p := range r.Raw[1:] {
		r.OursCPU = append(r.OursCPU, p.Ours.CPU)
		r.ReferenceCPU = append(r.ReferenceCPU, p.Reference.CPU)
	}
	if r.Broken == nil {
		r.Broken = []string{}
	}
	return nil
}

// Encode is the file.
func (r *Result) Encode() ([]byte, error) {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode row %s: %w", r.Row, err)
	}
	return append(b, '\n'), nil
}
