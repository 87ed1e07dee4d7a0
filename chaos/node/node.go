// Package node has the processes that an experiment starts beside the coordinators: NATS
// servers, and workers with the real end of the protocol whose work is nothing but one
// effect. Each says one line when it is ready and serves until its input ends, so that
// none outlives the experiment that started it.
package node

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
)

// Ready is the line that a process says first.
type Ready struct {
	Address string `json:"address,omitempty"`
}

// untilEOF says ready, and cancels once the input has ended.
func untilEOF(cancel context.CancelFunc, in io.Reader, out io.Writer, ready Ready) error {
	defer cancel()
	if err := json.NewEncoder(out).Encode(ready); err != nil {
		return fmt.Errorf("say ready: %w", err)
	}
	_, _ = io.Copy(io.Discard, in) // the experiment has ended, one way or another
	return nil
}
