package buildkit

import (
	"fmt"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/parser"

	"github.com/slipway-build/slipway/worker/runner"
)

// argSyntax is the build argument that names a frontend. It counts before what the Dockerfile says.
const argSyntax = "BUILDKIT_SYNTAX"

// own: `# syntax=docker/dockerfile:1` asks for the frontend that the daemon has
// built in. Taking that one needs no Docker Hub, and its version is the daemon's, not
// what a moving tag says today. Other frontends are fetched, as the file asks.
func own(frontend string) bool {
	ref := strings.TrimPrefix(strings.TrimPrefix(frontend, "docker.io/"), "library/")
	name, tag, _ := strings.Cut(ref, ":")
	return name == "docker/dockerfile" && !strings.Contains(tag, "labs") && !strings.Contains(tag, "upstream")
}

// foreign refuses a stranger's commit that names a frontend of its own. A frontend is a program that says what the steps
// are. It may say that the result of a step is in a cache of the stranger's, and the daemon would believe that in builds
// of everybody else.
func foreign(name string, dockerfile []byte, b runner.Build) *runner.Outcome {
	if !b.Untrusted {
		return nil
	}
	var ref, where, remedy string
	if arg, ok := b.Args[argSyntax]; ok {
		ref, _, _ = strings.Cut(strings.TrimSpace(arg), " ")
		where, remedy = "the build argument "+argSyntax, "take the argument out of slipway.yaml"
	} else if line, _, at, ok := parser.DetectSyntax(dockerfile); ok {
		ref, where, remedy = line, name, "take the line out, or make it `# syntax=docker/dockerfile:1`"
		if len(at) > 0 && at[0].Start.Line > 0 {
			where = fmt.Sprintf("%s:%d", name, at[0].Start.Line)
		}
	}
	if ref == "" || own(ref) {
		return nil
	}
	o := runner.Fail("%s: the Dockerfile frontend %s is asked for, but commits of strangers, such as those of forks, are built with BuildKit's own frontend alone: "+
		"%s, or push the commit to a branch of the repository once somebody has read it", where, ref, remedy)
	return &o
}
