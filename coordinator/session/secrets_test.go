package session_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/coordinator/partition"
	"github.com/slipway-build/slipway/coordinator/pipeline"
	"github.com/slipway-build/slipway/coordinator/run"
	"github.com/slipway-build/slipway/coordinator/secret"
	"github.com/slipway-build/slipway/coordinator/session"
)

const canary = "canary-of-the-session"

// secrets are two names, of which one has a value.
func secrets(t *testing.T) session.Secrets {
	t.Helper()
	file := filepath.Join(t.TempDir(), "npm")
	if err := os.WriteFile(file, []byte(canary), 0o600); err != nil {
		t.Fatal(err)
	}
	return secret.New(secret.Config{Targets: func(string) (*pipeline.Targets, error) {
		return &pipeline.Targets{Project: "shop", Secrets: []*pipeline.Secret{
			{Name: "gone", For: []string{pipeline.UseBuild}, File: file + "-gone"}, {Name: "npm", For: []string{pipeline.UseBuild}, File: file},
		}}, nil
	}})
}

// A lease carries the values that its task names; those of others do not, and nothing is
// stored.
func TestAGrantCarriesItsSecrets(t *testing.T) {
	p := builds(2)
	p.Tasks[0].Build.Secrets = map[string]string{"id": "npm"}
	f := newFarmOf(t, p, secrets(t))
	a := f.connect("a", nil)
	with, without := a.ask(f.tokens[0]), a.ask(f.tokens[1])
	if got := with.GetSecrets(); len(got) != 1 || got[0].GetName() != "npm" || string(got[0].GetValue()) != canary || with.GetBuild().GetSecrets()["id"] != "npm" {
		t.Errorf("secrets of the grant: %v", got)
	}
	if without == nil || len(without.GetSecrets()) > 0 {
		t.Errorf("a task that names none: %v", without)
	}
	if ack := a.complete(with.GetLease(), 0); ack.GetAborted() {
		t.Error("the completion was not used")
	}
	list, n := f.js.ListStreams(t.Context()), 0
	for info := range list.Info() {
		stream, err := f.js.Stream(t.Context(), info.Config.Name)
		if err != nil {
			t.Fatal(err)
		}
		for seq := info.State.FirstSeq; seq > 0 && seq <= info.State.LastSeq; seq++ {
			if m, err := stream.GetMsg(t.Context(), seq); err == nil {
				n++
				if bytes.Contains(m.Data, []byte(canary)) {
					t.Errorf("message %d of %s has the value", seq, info.Config.Name)
				}
			}
		}
	}
	if n < 4 {
		t.Errorf("only %d messages were searched", n)
	}
}

// What a stranger's commit or somebody's working tree builds is in no cache that others take from, and no program of a
// stranger says how it is built.
func TestAGrantSaysWhoseCommitItIs(t *testing.T) {
	for _, c := range []struct{ untrusted, dirty, cacheable bool }{{false, false, true}, {true, false, false}, {false, true, false}} {
		p := builds(1)
		p.Untrusted, p.Dirty = c.untrusted, c.dirty
		f := newFarmOf(t, p, secrets(t))
		g := f.connect("a", nil).ask(f.tokens[0])
		if g == nil || g.GetBuild().GetCacheable() != c.cacheable || g.GetBuild().GetUntrusted() != c.untrusted {
			t.Errorf("%+v: %v", c, g)
		}
	}
}

// What cannot be read is the farm's fault and tried again; what is not allowed is not.
func TestSecretsAreWithheld(t *testing.T) {
	for _, c := range []struct {
		name, secret string
		untrusted    bool
		state        run.TaskState
		message      string
	}{
		{"not there", "gone", false, run.TaskReady, "does not exist at the coordinator"},
		{"a fork", "npm", true, run.TaskFailed, "commits of forks get no secrets"},
		{"no longer known", "other", false, run.TaskFailed, "no longer in targets.yaml"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := builds(1)
			p.Untrusted = c.untrusted
			p.Tasks[0].Build.Secrets = map[string]string{"id": c.secret}
			f := newFarmOf(t, p, secrets(t))
			if g := f.connect("a", nil).ask(f.tokens[0]); g != nil {
				t.Fatalf("granted: %s", g.GetTaskId())
			}
			f.find(func(_ *partition.Tx, r *run.Run) {
				task := r.Tasks[0]
				if task.State != c.state || len(task.Attempts) != 1 {
					t.Errorf("the task is %s after %d attempts", task.State, len(task.Attempts))
				}
				if said := fmt.Sprint(task.Message, task.Attempts); !strings.Contains(said, c.message) || strings.Contains(said, canary) {
					t.Errorf("it says %s", said)
				}
			})
		})
	}
}
