package runner

import "slices"

// KindScan is the kind of scan tasks.
const KindScan Kind = "scan"

// Scan looks for what is wrong in sources.
type Scan struct {
	Name       string
	Using      string   // UsingSecrets, UsingConfig, UsingPackages or UsingLicenses; empty: Test says it
	Paths      []string // repository paths
	Manifests  string   // config: folder with Kubernetes manifests; empty: none
	Dockerfile string   // config: repository path; empty: none
	Level      string   // config: LevelBaseline or LevelRestricted; empty: LevelBaseline
	Deny       []string // licenses: SPDX ids
	Advisories string   // packages: digest of the blob that internal/advisories made
	Test       *Test    // a tool of the user's: Run and Report, a glob of SARIF files, are set
}

// Values of Scan.Using.
const (
	UsingSecrets  = "secrets"
	UsingConfig   = "config"
	UsingPackages = "packages"
	UsingLicenses = "licenses"
)

// Values of Scan.Level, of Kubernetes' pod security standards.
const (
	LevelBaseline   = "baseline"
	LevelRestricted = "restricted"
)

// Kind is KindScan.
func (Scan) Kind() Kind { return KindScan }

// SourcePaths are Paths, what config looks at, and those of the stage.
func (s Scan) SourcePaths() []string {
	out := slices.Clone(s.Paths)
	for _, p := range []string{s.Manifests, s.Dockerfile} {
		if p != "" {
			out = append(out, p)
		}
	}
	if s.Test != nil {
		out = append(out, s.Test.SourcePaths()...)
	}
	return out
}

// ScanSummary is what a scan found, in numbers.
type ScanSummary struct {
	Tool                        string
	Report                      string // digest of the blob with all findings, as SARIF
	Critical, High, Medium, Low int
}

// Ran is what came of a command whose files are wanted.
type Ran struct {
	Exit   int
	Output string // its end, for people
	Dir    string // the working directory of the command
	Files  []File // that match the glob, in the order of their names
	Steps  []Step
}

// File is a file that a command left.
type File struct {
	Name string // absolute
	Data []byte
	Err  error // why it could not be read
}
