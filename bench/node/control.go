// Package node is the processes of a benchmark other than the one that measures: NATS, a
// coordinator, workers, a collector of spans, and bare streams in place of workers.
// Each is the benchmark's own program with another first argument. It says on its
// standard output when it is ready, answers commands that come on its standard input, one
// JSON document a line, and ends when the input does.
package node

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
)

// maxLine bounds a command or an answer.
const maxLine = 64 << 20

// Command is a line that a process is sent.
type Command struct {
	Do   string          `json:"do"`
	Args json.RawMessage `json:"args,omitempty"`
}

// Answer is the line that it says then; the first one says what it is reached by.
type Answer struct {
	OK    json.RawMessage `json:"ok,omitempty"`
	Error string          `json:"error,omitempty"`
}

// Ops are what a process can be asked for.
type Ops map[string]func(ctx context.Context, args json.RawMessage) (any, error)

// Handle decodes the arguments of an operation.
func Handle[A any](f func(context.Context, A) (any, error)) func(context.Context, json.RawMessage) (any, error) {
	return func(ctx context.Context, args json.RawMessage) (any, error) {
		var a A
		if len(args) > 0 {
			if err := json.Unmarshal(args, &a); err != nil {
				return nil, fmt.Errorf("arguments: %w", err)
			}
		}
		return f(ctx, a)
	}
}

// Serve says ready, then answers commands until the input or the context ends.
func Serve(ctx context.Context, in io.Reader, out io.Writer, ready any, o Ops) error {
	enc := json.NewEncoder(out)
	if err := say(enc, ready, nil); err != nil {
		return err
	}
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxLine)
	for lines.Scan() && ctx.Err() == nil {
		var c Command
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			return fmt.Errorf("read a command: %w", err)
		}
		do, ok := o[c.Do]
		if !ok {
			do = func(context.Context, json.RawMessage) (any, error) { return nil, fmt.Errorf("no operation %q", c.Do) }
		}
		answer, err := do(ctx, c.Args)
		if err := say(enc, answer, err); err != nil {
			return err
		}
	}
	return nil
}

func say(enc *json.Encoder, answer any, failed error) error {
	a := Answer{}
	if failed != nil {
		a.Error = failed.Error()
	} else {
		b, err := json.Marshal(answer)
		if err != nil {
			return fmt.Errorf("encode an answer: %w", err)
		}
		a.OK = b
	}
	if err := enc.Encode(a); err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	return nil
}
