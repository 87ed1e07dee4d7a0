// Package doctor tells whether this machine can run a real node, and what is missing.
//
// It changes nothing that outlives a check.
package doctor

import "fmt"

// Finding is the answer to one question.
type Finding struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
	// Fix says what to do when it is not OK.
	Fix string `json:"fix,omitempty"`
}

// Report is what doctor prints as JSON.
type Report struct {
	Kind   string    `json:"kind"`
	OK     bool      `json:"ok"`
	Checks []Finding `json:"checks"`
}

// Options say what to look at beyond the machine itself.
type Options struct {
	// Bin, if set, is the folder in which kubelet, containerd and the others have to be.
	Bin string
}

// Programs are the names of what a real node needs beside devcluster itself.
func Programs() []string {
	return []string{
		"kubelet", "kube-proxy", "containerd", "containerd-shim-runc-v2", "ctr", "coredns", "ptp", "host-local", "pause",
	}
}

// Missing returns a line for each finding that is not OK.
func Missing(findings []Finding) []string {
	var lines []string
	for _, f := range findings {
		if !f.OK {
			lines = append(lines, fmt.Sprintf("  %s: %s; %s", f.Name, f.Detail, f.Fix))
		}
	}
	return lines
}
