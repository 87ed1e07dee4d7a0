package scaffold_test

import (
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-build/slipway/slipway/scaffold"
)

func TestBases(t *testing.T) {
	got, err := scaffold.Bases(fstest.MapFS{
		"web/Dockerfile": {Data: []byte("ARG V=20\nFROM node:${V}-alpine AS build\nFROM build AS test\nFROM scratch\nCOPY --from=build /a /a\n")},
		"api/Dockerfile": {Data: []byte("# syntax=docker/dockerfile:1\nFROM python:3.12-slim\nFROM python:3.12-slim\n")},
		"odd/Dockerfile": {Data: []byte("ARG NONE\nFROM ${NONE}\n")},
		"bad/Dockerfile": {Data: []byte("FORM x\n")},
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"node:20-alpine", "python:3.12-slim"}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
