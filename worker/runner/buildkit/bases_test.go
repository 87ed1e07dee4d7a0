package buildkit_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

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

// TestWhatATagMeantIsWhatIsBuiltFrom: in FROM, COPY --from and RUN --mount, whatever the tag means by now.
func TestWhatATagMeantIsWhatIsBuiltFrom(t *testing.T) {
	f := buildkittest.Start(t)
	b := buildkit.NewBuilder(f.Client)
	tag := f.Registry + "/which:1"
	tagged := func(which string) string {
		t.Helper()
		o := b.Run(t.Context(), task(t, buildkittest.Base+"RUN echo "+which+" > /which\n", func(b *runner.Build) { b.Push = f.Registry + "/which" }), &runnertest.Recorder{})
		runnertest.Want(t, o, runner.Succeeded, runner.ClassNone)
		ref, err := name.NewDigest(o.Result.Image)
		if err != nil {
			t.Fatal(err)
		}
		to, err := name.NewTag(tag)
		if err != nil {
			t.Fatal(err)
		}
		d, err := remote.Get(ref)
		if err == nil {
			err = remote.Tag(to, d)
		}
		if err != nil {
			t.Fatal(err)
		}
		return ref.DigestStr()
	}
	one, two := tagged("one"), tagged("two")
	for name, text := range map[string]string{
		"from":    "FROM " + tag + "\nRUN test \"$(cat /which)\" = WANT\n",
		"copied":  buildkittest.Base + "COPY --from=" + tag + " /which /there\nRUN test \"$(cat /there)\" = WANT\n",
		"mounted": buildkittest.Base + "RUN --mount=type=bind,from=" + tag + ",target=/m test \"$(cat /m/which)\" = WANT\n",
	} {
		for which, digest := range map[string]string{"one": one, "two": two} {
			o := b.Run(t.Context(), task(t, strings.ReplaceAll(text, "WANT", which), func(b *runner.Build) { b.Bases = map[string]string{tag: digest} }), &runnertest.Recorder{})
			if o.Kind != runner.Succeeded {
				t.Errorf("%s %s: %s", name, which, o.Message)
			}
		}
	}
}
