package farm

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
)

// Build compiles a program of the tree that this module stands in, ./coordinator or ./deploy, with build
// tags, and answers it.
func Build(ctx context.Context, dir, pkg, name, tags string) (string, error) {
	out, err := filepath.Abs(filepath.Join(dir, name))
	if err != nil {
		return "", fmt.Errorf("build %s: %w", name, err)
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-tags", tags, "-o", out, pkg)
	cmd.Dir = ".."
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", name, err, text)
	}
	return out, nil
}
