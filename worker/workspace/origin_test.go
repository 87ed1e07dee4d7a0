package workspace_test

import (
	"context"
	"crypto/sha1"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/slipway-build/slipway/worker/workspace"
)

// origin has commits in memory, and counts what it is asked.
type origin struct {
	commits map[string][]item // by commit; a task's paths are those of the commit

	mu           sync.Mutex
	lists, bytes int
	read         []string // paths whose content was read
	before       func(path string) error
	alter        func(path, content string) string
}

type item struct {
	workspace.Entry
	content string
}

func file(path, content string) item { return entry(path, workspace.File, content) }
func link(path, to string) item      { return entry(path, workspace.Link, to) }

func entry(path string, kind workspace.Kind, content string) item {
	return item{workspace.Entry{Path: path, Kind: kind, ID: blob(content)}, content}
}

func blob(content string) workspace.Content {
	sum := sha1.Sum(fmt.Appendf(nil, "blob %d\x00%s", len(content), content))
	return workspace.Content{Blob: string(sum[:])}
}

func (o *origin) List(_ context.Context, s workspace.Source, held []string) (string, []workspace.Entry, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.lists++
	items, ok := o.commits[s.Commit]
	if !ok {
		return "", nil, fmt.Errorf("no commit %s", s.Commit)
	}
	list := make([]workspace.Entry, 0, len(items))
	for _, i := range items {
		list = append(list, i.Entry)
	}
	identity := fmt.Sprintf("%x", sha1.Sum(fmt.Append(nil, list)))
	if slices.Contains(held, identity) {
		return identity, nil, nil
	}
	return identity, list, nil
}

func (o *origin) Read(_ context.Context, s workspace.Source, _ string, wanted []int, take func(size int64, content io.Reader) error) error {
	for _, i := range wanted {
		it := o.commits[s.Commit][i]
		o.mu.Lock()
		o.read, o.bytes = append(o.read, it.Path), o.bytes+len(it.content)
		o.mu.Unlock()
		if o.before != nil {
			if err := o.before(it.Path); err != nil {
				return err
			}
		}
		content := it.content
		if o.alter != nil {
			content = o.alter(it.Path, content)
		}
		if err := take(int64(len(it.content)), strings.NewReader(content)); err != nil {
			return err
		}
	}
	return nil
}
