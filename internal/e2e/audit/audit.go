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
	"time"
)

// Write is a change that was accepted: no dry run, and not of a status.
type Write struct {
	At                        time.Time
	Verb, Agent               string // what the writer calls itself
	Resource, Namespace, Name string
}

func (w Write) String() string {
	return fmt.Sprintf("%s %s %s %s/%s by %s", w.At.Format(time.TimeOnly), w.Verb, w.Resource, w.Namespace, w.Name, w.Agent)
}

// Read is what the log has, oldest first.
func Read(file string) ([]Write, error) {
	log, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read audit log: %w", err)
	}
	var out []Write
	lines := bufio.NewScanner(bytes.NewReader(log))
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		var e struct {
			Stage, Verb, RequestURI, UserAgent string
			RequestReceivedTimestamp           time.Time
			ObjectRef                          struct{ Resource, Namespace, Name, Subresource string }
			ResponseStatus                     struct{ Code int }
		}
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			continue // the last line may be half written
		}
		if o := e.ObjectRef; e.Stage == "ResponseComplete" && o.Subresource == "" && e.ResponseStatus.Code < 300 && !strings.Contains(e.RequestURI, "dryRun=") {
			out = append(out, Write{At: e.RequestReceivedTimestamp, Verb: e.Verb, Agent: e.UserAgent, Resource: o.Resource, Namespace: o.Namespace, Name: o.Name})
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read audit log: %w", err)
	}
	return out, nil
}

// Writes counts how often somebody wrote a Deployment. Agent is what the writer's name of itself begins with.
func Writes(file, agent, namespace, name string) (int, error) {
	all, err := Read(file)
	n := 0
	for _, w := range all {
		if w.Resource == "deployments" && w.Namespace == namespace && w.Name == name && strings.HasPrefix(w.Agent, agent) {
			n++
		}
	}
	return n, err
}
