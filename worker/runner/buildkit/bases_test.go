package buildkit_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/slipway-build/slipway/internal/baseimages"
	"github.com/slipway-build/slipway/worker/runner"
	"github.com/slipway-build/slipway/worker/runner/buildkit"
	"github.com/slipway-build/slipway/worker/runner/buildkit/buildkittest"
	"github.com/slipway-build/slipway/worker/runner/runnertest"
)

// TestHomemadeBasesAreNamed: who reads the provenance of an image must see that it
// stands on bases that are not the official ones.
func TestHomemadeBasesAreNamed(t *testing.T) {
	f := buildkittest.Start(t)
	b := buildkit.NewBuilder(f.Client)
	apps := 0
	build := func(repository, content string, edit func(*runner.Build)) string {
		t.Helper()
		o := b.Run(t.Context(), task(t, content, func(b *runner.Build) {
			b.Push, b.Provenance = f.Registry+"/"+repository, true
			if edit != nil {
				edit(b)
			}
		}), &runnertest.Recorder{})
		runnertest.Want(t, o, runner.Succeeded, runner.ClassNone)
		return o.Result.Image
	}
	app := func(text string, edit func(*runner.Build)) string {
		t.Helper()
		apps++ // equal images of one repository would share their attestations
		return provenanceOf(t, build(fmt.Sprintf("app%d", apps), text, edit))
	}
	official := build("official", buildkittest.Base, nil)
	made := build("made", buildkittest.Base+fmt.Sprintf("LABEL %s=true\n", baseimages.LabelHomemade), nil)
	repository, digest, _ := strings.Cut(made, "@")
	for text, edit := range map[string]func(*runner.Build){
		"FROM " + official + "\nRUN true\n":                                      nil,
		"FROM other\nRUN true\n":                                                 func(b *runner.Build) { b.Contexts = map[string]string{"other": official} },
		"FROM scratch AS made\nCOPY busybox /\nFROM made\nCOPY busybox /again\n": nil,
	} {
		if p := app(text, edit); strings.Contains(p, "homemade") {
			t.Errorf("%sis said to stand on a home-made base: %s", text, p)
		}
	}
	for text, edit := range map[string]func(*runner.Build){
		"FROM " + made + " AS tools\nFROM " + official + "\nRUN true\n":                                          nil,
		"ARG REPO=" + repository + "\nARG BASE=$REPO\nARG WANT\nFROM ${BASE}@${WANT:-none}\nRUN true\n":          func(b *runner.Build) { b.Args = map[string]string{"WANT": digest} },
		"ARG REPO=nowhere\nFROM --platform=$TARGETPLATFORM ${REPO}@" + digest + " AS " + "x\nFROM x\nRUN true\n": func(b *runner.Build) { b.Args = map[string]string{"REPO": repository} },
	} {
		if p := app(text, edit); !strings.Contains(p, `"slipway:homemade-bases":"`+made+`"`) {
			t.Errorf("%sdoes not say that it stands on %s: %s", text, made, p)
		}
	}
}

func provenanceOf(t *testing.T, image string) string {
	t.Helper()
	ref, err := name.NewDigest(image, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	return provenance(t, ref)
}
