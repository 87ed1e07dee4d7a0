// Package manifest reads the rendered manifests of a release: many YAML documents become objects with a place in the order
// of writing, and what a release may not contain is refused by name before any cluster is asked.
//
// In front of them may stand what Helm's own record of a release needs: it is told apart from the objects, and no part of them.
//
// It is pure: it knows no cluster, renders nothing, and does not judge what only a schema can judge.
package manifest
