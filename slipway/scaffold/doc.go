// Package scaffold looks at a repository and proposes its slipway.yaml and targets.yaml:
// which services it has, how their images are built and tested, and where their
// manifests are, and which images there mean them. Everything that it guessed is said beside it.
//
// It reads Dockerfiles, bake, Compose and skaffold files, go.mod, package.json, Python
// projects, kustomizations, plain manifests and charts. It runs nothing, writes nothing
// and asks no farm. What it proposes passes slipway lint.
package scaffold
