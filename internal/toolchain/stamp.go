package toolchain

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// goVersion asks the go command, since it is the one that will build.
func goVersion(ctx context.Context, dir string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "env", "GOVERSION")
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("the go command does not run: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// stamp is a hash of everything that decides what a step produces.
func (b *builder) stamp(step Step) (string, error) {
	h := sha256.New()
	if err := json.NewEncoder(h).Encode([]any{step, b.goVersion, runtime.GOOS, runtime.GOARCH}); err != nil {
		return "", err
	}
	if step.Package != "" {
		if err := hashModule(h, filepath.Join(b.cfg.Root, step.Dir)); err != nil {
			return "", fmt.Errorf("inputs of %s: %w", step.Name, err)
		}
	}
	return fmt.Sprintf("%x", h.Sum(nil)), nil
}

// hashModule hashes the names and contents of a module's files, less tests, documents and the modules inside it.
func hashModule(h interface{ Write([]byte) (int, error) }, dir string) error {
	return filepath.WalkDir(dir, func(file string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() {
			if file == dir {
				return nil
			}
			if _, err := os.Stat(filepath.Join(file, "go.mod")); err == nil || e.Name() == "testdata" {
				return fs.SkipDir
			}
			return nil
		}
		if !e.Type().IsRegular() || strings.HasSuffix(file, "_test.go") || strings.HasSuffix(file, ".md") {
			return nil
		}
		content, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, file)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(h, "%s\x00%x\n", filepath.ToSlash(rel), sha256.Sum256(content))
		return err
	})
}

func (b *builder) stampFile(step Step) string {
	return filepath.Join(b.cfg.Cache, "stamps", step.Name)
}

// done tells whether the program is there and was made from the same inputs.
func (b *builder) done(step Step, stamp string) bool {
	have, err := os.ReadFile(b.stampFile(step))
	if err != nil || !bytes.Equal(have, []byte(stamp)) {
		return false
	}
	info, err := os.Stat(b.program(step))
	return err == nil && info.Mode().IsRegular()
}

func (b *builder) program(step Step) string {
	return filepath.Join(b.cfg.Bin(), step.Name)
}
