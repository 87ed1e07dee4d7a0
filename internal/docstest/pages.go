package docstest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Pages are what users read, by path from the root of the repository.
func Pages(root string) (map[string]string, error) {
	out := map[string]string{}
	for _, glob := range []string{"*.md", "docs/*.md", "docs/decisions/*.md", "examples/*/*.md", "charts/*/*.md"} {
		files, err := filepath.Glob(filepath.Join(root, glob))
		if err != nil {
			return nil, fmt.Errorf("find pages: %w", err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				return nil, fmt.Errorf("read pages: %w", err)
			}
			name, err := filepath.Rel(root, file)
			if err != nil {
				return nil, fmt.Errorf("read pages: %w", err)
			}
			out[filepath.ToSlash(name)] = string(data)
		}
	}
	if len(out) < 10 {
		return nil, fmt.Errorf("only %d pages in %s", len(out), root)
	}
	return out, nil
}

// Block is a fenced part of a page, without the indentation of its fence.
type Block struct {
	Page, Language, Text string
	Line                 int // of its first line of text
}

func (b Block) String() string { return fmt.Sprintf("%s:%d", b.Page, b.Line) }

// First is the first line of text, by which tests name a block.
func (b Block) First() string {
	first, _, _ := strings.Cut(strings.TrimSpace(b.Text), "\n")
	return first
}

// Blocks are those of a page, in its order.
func Blocks(page, text string) []Block {
	var out []Block
	var open *Block
	indent := ""
	for i, line := range strings.SplitAfter(text, "\n") {
		fence, ok := strings.CutPrefix(strings.TrimSpace(line), "```")
		switch {
		case open == nil && ok:
			open = &Block{Page: page, Language: strings.TrimSpace(fence), Line: i + 2}
			indent, _, _ = strings.Cut(line, "`")
		case open != nil && ok:
			out = append(out, *open)
			open = nil
		case open != nil:
			open.Text += strings.TrimPrefix(line, indent)
		}
	}
	return out
}
