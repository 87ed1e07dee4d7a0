package daemon

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Sizes of files that a configuration names, in bytes.
const (
	maxSecret = 64 << 10
	maxFile   = 1 << 20
)

// Files reads what a configuration names, relative to the configuration's own folder,
// and gathers every mistake.
type Files struct {
	dir      string
	problems []error
}

// FilesOf answers the files of the configuration at path.
func FilesOf(path string) *Files { return &Files{dir: filepath.Dir(path)} }

// Path makes a name absolute that is relative to the configuration; empty stays empty.
func (f *Files) Path(name string) string {
	if name == "" || filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(f.dir, name)
}

// Read answers the content of a file that a key names; nil when it names none.
func (f *Files) Read(key, name string) []byte { return f.read(key, name, maxFile) }

// Secret answers the one line of a file that holds a token or password.
func (f *Files) Secret(key, name string) string {
	return strings.TrimSpace(string(f.read(key, name, maxSecret)))
}

func (f *Files) read(key, name string, limit int) []byte {
	if name == "" {
		return nil
	}
	data, err := os.ReadFile(f.Path(name))
	switch {
	case err != nil:
		f.Problem(fmt.Errorf("%s: %w", key, err))
	case len(data) > limit:
		f.Problem(fmt.Errorf("%s: %s has more than %d bytes", key, name, limit))
	}
	return data
}

// Problem adds a mistake.
func (f *Files) Problem(err error) { f.problems = append(f.problems, err) }

// Err is every mistake, or nil.
func (f *Files) Err() error { return errors.Join(f.problems...) }
