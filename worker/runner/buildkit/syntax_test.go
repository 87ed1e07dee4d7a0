package buildkit_test

import (
	"strings"
	"testing"

	"github.com/slipway-build/slipway/worker/runner"
	"github.com/slipway-build/slipway/worker/runner/buildkit"
	"github.com/slipway-build/slipway/worker/runner/buildkit/buildkittest"
	"github.com/slipway-build/slipway/worker/runner/runnertest"
)

// TestStrangersChooseNoFrontend: one of a stranger's could put into the daemon, which everybody's builds share, what no step made.
func TestStrangersChooseNoFrontend(t *testing.T) {
	const refused = "built with BuildKit's own frontend alone"
	for name, c := range map[string]struct {
		content, arg string
		bad          string // in the message; empty: it is built
	}{
		"none":                   {"FROM scratch\n", "", ""},
		"own":                    {"# syntax=docker/dockerfile:1\nFROM scratch\n", "", ""},
		"own, as an argument":    {"FROM scratch\n", "docker.io/docker/dockerfile:1.9", ""},
		"foreign":                {"# syntax=evil.example/front:1 x\nFROM scratch\n", "", dockerfile + ":1: the Dockerfile frontend evil.example/front:1 is"},
		"foreign, after #!":      {"#!/bin/sh\n# syntax=evil.example/front\nFROM scratch\n", "", "evil.example/front"},
		"foreign, as in C":       {"// syntax=evil.example/front\nFROM scratch\n", "", "evil.example/front"},
		"foreign, as JSON":       {`{"syntax": "evil.example/front"}`, "", "evil.example/front"},
		"foreign, argument":      {"# syntax=docker/dockerfile:1\nFROM scratch\n", "evil.example/front y", "the build argument BUILDKIT_SYNTAX: the Dockerfile frontend evil.example/front is"},
		"of the labs":            {"# syntax=docker/dockerfile:1-labs\nFROM scratch\n", "", "docker/dockerfile:1-labs"},
		"another registry's":     {"# syntax=evil.example/docker/dockerfile:1\nFROM scratch\n", "", "evil.example/docker/dockerfile:1"},
		"further down: a remark": {"FROM scratch\n# syntax=evil.example/front\n", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			work := task(t, c.content, func(b *runner.Build) {
				b.Untrusted = true
				if c.arg != "" {
					b.Args = map[string]string{"BUILDKIT_SYNTAX": c.arg}
				}
			})
			b := work.Work.(runner.Build)
			attrs, bad := buildkit.Frontend(work.Workspace, work.Commit, b)
			switch {
			case c.bad != "":
				if bad == nil || bad.Class != runner.ClassUser || !strings.Contains(bad.Message, c.bad) || !strings.Contains(bad.Message, refused) {
					t.Errorf("%v, want it refused: %s", bad, c.bad)
				}
			case bad != nil:
				t.Error(bad.Message)
			case attrs["cmdline"] != "dockerfile.v0" || attrs["build-arg:BUILDKIT_SYNTAX"] != "":
				t.Error(attrs)
			}
			b.Untrusted = false
			if attrs, bad := buildkit.Frontend(work.Workspace, work.Commit, b); bad != nil || attrs["build-arg:BUILDKIT_SYNTAX"] != c.arg {
				t.Errorf("of nobody strange: %v, %v", attrs, bad)
			}
		})
	}
}

// TestAStrangersBuild: it is carried out as it always was, and one that asks for more does not reach the daemon.
func TestAStrangersBuild(t *testing.T) {
	f := buildkittest.Start(t)
	stranger := func(b *runner.Build) { b.Untrusted = true }
	b := buildkit.NewBuilder(f.Client)
	runnertest.Want(t, b.Run(t.Context(), task(t, buildkittest.Base+"RUN echo made >/made\n", stranger), &runnertest.Recorder{}), runner.Succeeded, runner.ClassNone)
	o := b.Run(t.Context(), task(t, "# syntax=127.0.0.1:1/front\n"+buildkittest.Base, stranger), &runnertest.Recorder{})
	runnertest.Want(t, o, runner.Failed, runner.ClassUser)
	if len(o.Steps) > 0 {
		t.Errorf("it was begun: %v", o.Steps)
	}
}
