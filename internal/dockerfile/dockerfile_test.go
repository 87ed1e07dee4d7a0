package dockerfile_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-build/slipway/internal/dockerfile"
)

func TestBases(t *testing.T) {
	const sum = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	for name, c := range map[string]struct {
		src  string
		how  dockerfile.Build
		want string
	}{
		"one":                   {"FROM golang:1.26\n", dockerfile.Build{}, "docker.io/library/golang:1.26"},
		"no tag":                {"FROM alpine\n", dockerfile.Build{}, "docker.io/library/alpine:latest"},
		"by digest":             {"FROM alpine:3.22@" + sum + "\n", dockerfile.Build{}, "docker.io/library/alpine:3.22@" + sum},
		"another registry":      {"FROM ghcr.io/acme/base:2\n", dockerfile.Build{}, "ghcr.io/acme/base:2"},
		"stages and scratch":    {"FROM golang:1.26 AS Build\nFROM build AS test\nFROM scratch\nCOPY --from=build /a /a\nCOPY --from=0 /a /b\n", dockerfile.Build{}, "docker.io/library/golang:1.26"},
		"copied from":           {"FROM scratch\nCOPY --from=busybox:1.36 /bin/sh /sh\n", dockerfile.Build{}, "docker.io/library/busybox:1.36"},
		"mounted from":          {"FROM alpine:3\nRUN --mount=type=bind,from=golang:1.26,target=/go true\nRUN --mount=type=cache,target=/c true\n", dockerfile.Build{}, "docker.io/library/alpine:3 docker.io/library/golang:1.26"},
		"a context of a build":  {"FROM base\nCOPY --from=tools /x /x\n", dockerfile.Build{Contexts: map[string]struct{}{"base": {}, "tools": {}}}, ""},
		"an argument":           {"ARG V=1\nARG IMAGE=alpine:$V\nFROM ${IMAGE}\n", dockerfile.Build{}, "docker.io/library/alpine:1"},
		"an argument given":     {"ARG V=1\nFROM alpine:${V}\n", dockerfile.Build{Args: map[string]string{"V": "3"}}, "docker.io/library/alpine:3"},
		"the platform":          {"FROM --platform=$BUILDPLATFORM base-$TARGETARCH:1\n", dockerfile.Build{Platform: "linux/arm64"}, "docker.io/library/base-arm64:1"},
		"nothing":               {"ARG X\nFROM $X\n", dockerfile.Build{Args: map[string]string{"X": "scratch"}}, ""},
		"the same twice":        {"FROM alpine:3 AS a\nFROM alpine:3 AS b\n", dockerfile.Build{}, "docker.io/library/alpine:3"},
		"a later stage is none": {"FROM later AS first\nFROM scratch AS later\n", dockerfile.Build{}, "docker.io/library/later:latest"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := dockerfile.Bases([]byte(c.src), c.how)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, strings.Join(got, " ")); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
	for _, src := range []string{"", "RUN x\n", "FROM a b c\n", "FROM alpine\nCOPY --from\n"} {
		if got, err := dockerfile.Bases([]byte(src), dockerfile.Build{}); err == nil {
			t.Errorf("%q: %v, want an error", src, got)
		}
	}
}
