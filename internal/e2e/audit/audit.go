// Package audit reads the audit log of a development cluster's API server: the witness of
// what was done to a cluster that no part of Slipway writes.
package audit

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
)

// Writes counts how often somebody wrote a Deployment: accepted, no dry run, not its status.
// Agent is what the writer's name of itself begins with.
func Writes(file, agent, namespace, name string) (int, error) {
	log, err := os.ReadFile(file)
	if err != nil {
		return 0, fmt.Errorf("read audit log: %w", err)
	}
	n := 0
	lines := bufio.NewScanner(bytes.NewReader(log))
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		var e struct {
			Stage, Verb, RequestURI, UserAgent string
			ObjectRef                          struct{ Resource, Namespace, Name, Subresource string }
			ResponseStatus                     struct{ Code int }
		}
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			continue // the last line may be half written
		}
		o := e.ObjectRef
		if e.Stage == "ResponseComplete" && o.Resource == "deployments" && o.Subresource == "" && o.Namespace == namespace && o.Name == name &&
			strings.HasPrefix(e.UserAgent, agent) && e.ResponseStatus.Code < 300 && !strings.Contains(e.RequestURI, "dryRun=") {
			n++
		}
	}
	if err := lines.Err(); err != nil {
		return 0, fmt.Errorf("read audit log: %w", err)
	}
	return n, nil
}
