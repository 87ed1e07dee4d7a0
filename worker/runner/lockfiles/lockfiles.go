// Package lockfiles reads which packages the lock files of a repository name: go.mod,
// package-lock.json and those of other languages.
//
// It follows no link, reads nothing but listed files within their limits, survives what strangers
// wrote, and asks nobody: a package is what its lock file says of it.
package lockfiles

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/google/osv-scalibr/extractor"
	"github.com/google/osv-scalibr/extractor/filesystem"
	"github.com/google/osv-scalibr/extractor/filesystem/language/golang/gomod"
	"github.com/google/osv-scalibr/extractor/filesystem/language/java/gradlelockfile"
	"github.com/google/osv-scalibr/extractor/filesystem/language/java/pomxml"
	"github.com/google/osv-scalibr/extractor/filesystem/language/javascript/packagelockjson"
	"github.com/google/osv-scalibr/extractor/filesystem/language/javascript/pnpmlock"
	"github.com/google/osv-scalibr/extractor/filesystem/language/javascript/yarnlock"
	"github.com/google/osv-scalibr/extractor/filesystem/language/php/composerlock"
	"github.com/google/osv-scalibr/extractor/filesystem/language/python/pdmlock"
	"github.com/google/osv-scalibr/extractor/filesystem/language/python/pipfilelock"
	"github.com/google/osv-scalibr/extractor/filesystem/language/python/poetrylock"
	"github.com/google/osv-scalibr/extractor/filesystem/language/python/requirements"
	"github.com/google/osv-scalibr/extractor/filesystem/language/python/uvlock"
	"github.com/google/osv-scalibr/extractor/filesystem/language/ruby/gemfilelock"
	"github.com/google/osv-scalibr/extractor/filesystem/language/rust/cargolock"
	"github.com/google/osv-scalibr/extractor/filesystem/simplefileapi"

	cpb "github.com/google/osv-scalibr/binary/proto/config_go_proto"

	"github.com/slipway-build/slipway/worker/runner/sources"
)

// File is a lock file.
type File struct {
	Path     string
	Data     []byte
	Packages []*extractor.Package // sorted by name and version
	Err      error                // why it cannot be read, if it cannot
}

// Each hands the lock files among s to do, sorted by path. A file that cannot be read is one with an
// error; Each itself fails where ctx has ended.
func Each(ctx context.Context, s *sources.Files, do func(File)) error {
	readers, err := extractors()
	if err != nil {
		return err
	}
	for _, name := range s.Names() {
		i := slices.IndexFunc(readers, func(e filesystem.Extractor) bool { return e.FileRequired(simplefileapi.New(name, s.Info(name))) })
		if i < 0 {
			continue
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		f := File{Path: name}
		f.Data, f.Packages, f.Err = read(ctx, s, name, readers[i])
		do(f)
	}
	return nil
}

// read reads the packages of one lock file, in a fixed order.
func read(ctx context.Context, s *sources.Files, name string, e filesystem.Extractor) (data []byte, out []*extractor.Package, err error) {
	defer func() { // what strangers wrote goes through much code of others
		if p := recover(); p != nil {
			err = fmt.Errorf("the reader of %s broke: %v", e.Name(), p)
		}
	}()
	if data, err = s.Read(name, sources.MaxFile); err != nil {
		return nil, nil, err
	}
	inv, err := e.Extract(ctx, &filesystem.ScanInput{FS: s.FS(), Path: name, Info: s.Info(name), Reader: bytes.NewReader(data)})
	if err != nil {
		return nil, nil, err
	}
	slices.SortFunc(inv.Packages, func(a, b *extractor.Package) int {
		return strings.Compare(a.Name+"\x00"+a.Version, b.Name+"\x00"+b.Version)
	})
	return data, inv.Packages, nil
}

// Pinned says whether a package has a version, and not the least of those that would do.
func Pinned(p *extractor.Package) bool {
	if m, ok := p.Metadata.(*requirements.Metadata); ok {
		return m.VersionComparator == "==" || m.VersionComparator == "==="
	}
	return true
}

// extractors read the lock files that are known.
func extractors() ([]filesystem.Extractor, error) {
	var out []filesystem.Extractor
	for _, reader := range []func(*cpb.PluginConfig) (filesystem.Extractor, error){
		gomod.New, packagelockjson.New, yarnlock.New, pnpmlock.New, requirements.New, poetrylock.New, uvlock.New, pdmlock.New, pipfilelock.New,
		cargolock.New, gemfilelock.New, composerlock.New, pomxml.New, gradlelockfile.New,
	} {
		e, err := reader(&cpb.PluginConfig{})
		if err != nil {
			return nil, fmt.Errorf("make a reader of lock files: %w", err)
		}
		out = append(out, e)
	}
	return out, nil
}
