package advisories

import (
	"archive/zip"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/google/osv-scalibr/semantic"
	"github.com/klauspost/compress/zstd"

	"github.com/slipway-build/slipway/internal/sarif"
)

// Pack makes a blob of all advisories below fsys: *.json, and *.zip of them as OSV publishes for each
// ecosystem. The blob is the same for the same advisories, whatever the files that hold them; what is
// withdrawn, and what is about no package of an ecosystem whose versions can be compared, is not in
// it. The error names the file, and where in it the mistake is.
func Pack(fsys fs.FS) ([]byte, error) {
	p := packer{records: map[string]packed{}}
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case !d.Type().IsRegular():
			return nil
		case strings.EqualFold(path.Ext(name), ".json"):
			return p.file(fsys, name)
		case strings.EqualFold(path.Ext(name), ".zip"):
			return p.archive(fsys, name)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("pack advisories: %w", err)
	}
	if len(p.records) == 0 {
		return nil, errors.New("pack advisories: there are none: expected *.json in the schema of OSV, or *.zip of them")
	}
	return p.blob()
}

// source is what is read of an advisory in the schema of OSV.
type source struct {
	ID        string   `json:"id"`
	Modified  string   `json:"modified"`
	Withdrawn string   `json:"withdrawn"`
	Aliases   []string `json:"aliases"`
	Summary   string   `json:"summary"`
	Details   string   `json:"details"`
	Severity  []score  `json:"severity"`
	Affected  []struct {
		Package struct {
			Ecosystem string `json:"ecosystem"`
			Name      string `json:"name"`
		} `json:"package"`
		Severity []score `json:"severity"`
		Ranges   []struct {
			Type   string  `json:"type"`
			Events []event `json:"events"`
		} `json:"ranges"`
		Versions []string       `json:"versions"`
		Specific map[string]any `json:"ecosystem_specific"`
		Database map[string]any `json:"database_specific"`
	} `json:"affected"`
	Database map[string]any `json:"database_specific"`
}

// packed is an advisory and where it was found.
type packed struct {
	record

	at, modified string
	left         bool // withdrawn, or about nothing that can be looked up
	line         []byte
	rated        bool
}

type packer struct {
	records map[string]packed // by ID
	size    int64
}

func (p *packer) file(fsys fs.FS, name string) error {
	f, err := fsys.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return p.add(name, f)
}

// archive reads the advisories of a zip file.
func (p *packer) archive(fsys fs.FS, name string) error {
	f, err := fsys.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() > maxZip {
		return fmt.Errorf("%s has %d MiB, at most %d are read: take the archives of single ecosystems", name, info.Size()>>20, maxZip>>20)
	}
	at, ok := f.(io.ReaderAt)
	if !ok {
		data, err := io.ReadAll(io.LimitReader(f, maxZip))
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		at = bytes.NewReader(data)
	}
	z, err := zip.NewReader(at, info.Size())
	if err != nil {
		return fmt.Errorf("%s: %w: expected a zip file of *.json, as OSV publishes", name, err)
	}
	for _, e := range z.File {
		if !e.Mode().IsRegular() || !strings.EqualFold(path.Ext(e.Name), ".json") {
			continue
		}
		full := name + ": " + e.Name
		r, err := e.Open()
		if err != nil {
			return fmt.Errorf("%s: %w", full, err)
		}
		err = p.add(full, r)
		_ = r.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *packer) add(name string, r io.Reader) error {
	data, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if len(data) > maxFile {
		return fmt.Errorf("%s has more than %d MiB, more than any advisory: remove it", name, maxFile>>20)
	}
	var s source
	if err := json.Unmarshal(data, &s); err != nil {
		return fmt.Errorf("%s:%s: %w: expected an advisory in the schema of OSV", name, position(data, err), err)
	}
	if s.ID == "" {
		return fmt.Errorf("%s: id is missing: expected an advisory in the schema of OSV", name)
	}
	if len(p.records) == maxAdvisories {
		return fmt.Errorf("%s: there are more than %d advisories: take the archives of fewer ecosystems", name, maxAdvisories)
	}
	n := packed{record: record{ID: s.ID, Aliases: sorted(s.Aliases), Summary: summary(s), Affected: products(s)}, at: name, modified: s.Modified}
	n.Severity, n.rated = rate(s)
	n.left = s.Withdrawn != "" || len(n.Affected) == 0
	if n.line, err = json.Marshal(n.record); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	old, twice := p.records[s.ID]
	same := old.left == n.left && bytes.Equal(old.line, n.line)
	switch {
	case twice && !same && old.modified == n.modified:
		return fmt.Errorf("%s is in %s and in %s, both modified %q, and they differ: remove one", s.ID, old.at, name, s.Modified)
	case twice && old.modified >= n.modified:
		return nil
	}
	if p.size += int64(len(n.line) - len(old.line)); p.size > maxBlob*9/10 {
		return fmt.Errorf("%s: the advisories take more than %d MiB: take the archives of fewer ecosystems", name, maxBlob*9/10>>20)
	}
	p.records[s.ID] = n
	return nil
}

// position is "line:column" of an error of JSON.
func position(data []byte, err error) string {
	offset := int64(len(data))
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	if errors.As(err, &syntax) {
		offset = syntax.Offset
	} else if errors.As(err, &kind) {
		offset = kind.Offset
	}
	before := data[:min(max(offset, 0), int64(len(data)))]
	return fmt.Sprintf("%d:%d", bytes.Count(before, []byte("\n"))+1, max(1, len(before)-bytes.LastIndexByte(before, '\n')-1))
}

func sorted(s []string) []string {
	s = slices.Clone(s)
	slices.Sort(s)
	return slices.Compact(s)
}

// summary is what the advisory is about, in one line.
func summary(s source) string {
	for _, text := range []string{s.Summary, strings.SplitN(strings.TrimSpace(s.Details), "\n", 2)[0]} {
		if text = sarif.OneLine(text); len(text) > maxSummary {
			return strings.ToValidUTF8(text[:maxSummary], "") + "…"
		} else if text != "" {
			return text
		}
	}
	return ""
}

// products are the packages whose versions can be compared, in a fixed order.
func products(s source) []affected {
	var out []affected
	for _, a := range s.Affected {
		if _, err := semantic.Parse("1.0.0", a.Package.Ecosystem); err != nil || a.Package.Name == "" {
			continue
		}
		one := affected{Ecosystem: a.Package.Ecosystem, Name: a.Package.Name, Versions: sorted(a.Versions)}
		for _, r := range a.Ranges {
			events := slices.DeleteFunc(slices.Clone(r.Events), func(e event) bool { return e.version() == "" }) // limits are of git
			if r.Type != "GIT" && len(events) > 0 {
				one.Ranges = append(one.Ranges, events)
			}
		}
		if len(one.Ranges) > 0 || len(one.Versions) > 0 {
			out = append(out, one)
		}
	}
	slices.SortFunc(out, func(a, b affected) int {
		return cmp.Or(strings.Compare(a.Ecosystem, b.Ecosystem), strings.Compare(a.Name, b.Name), strings.Compare(fmt.Sprint(a.Ranges, a.Versions), fmt.Sprint(b.Ranges, b.Versions)))
	})
	return out
}

// blob writes the records by their ID. One that nobody rated is as bad as the worst that it shares an
// alias with; else it counts as medium.
func (p *packer) blob() ([]byte, error) {
	worst := map[string]sarif.Severity{}
	for _, r := range p.records {
		if !r.rated || r.left {
			continue
		}
		for _, name := range append([]string{r.ID}, r.Aliases...) {
			if r.Severity.Rank() > worst[name].Rank() {
				worst[name] = r.Severity
			}
		}
	}
	head := header{Format: format}
	var kept []record
	for _, r := range p.records {
		if r.left {
			continue
		}
		if head.Newest = max(head.Newest, r.modified); !r.rated {
			for _, name := range append([]string{r.ID}, r.Aliases...) {
				if s := worst[name]; s != "" && (!r.rated || s.Rank() > r.Severity.Rank()) {
					r.Severity, r.rated = s, true
				}
			}
		}
		kept = append(kept, r.record)
	}
	slices.SortFunc(kept, func(a, b record) int { return strings.Compare(a.ID, b.ID) })
	head.Count = len(kept)
	var b bytes.Buffer
	z, err := zstd.NewWriter(&b, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedBetterCompression))
	if err != nil {
		return nil, fmt.Errorf("pack advisories: %w", err)
	}
	lines := json.NewEncoder(z)
	err = lines.Encode(head)
	for _, r := range kept {
		err = errors.Join(err, lines.Encode(r))
	}
	if err = errors.Join(err, z.Close()); err != nil {
		return nil, fmt.Errorf("pack advisories: %w", err)
	}
	return b.Bytes(), nil
}
