// Package ociregistry serves an OCI image registry inside the process, with its content on disk, so that a farm on one
// machine needs no registry of its own. It wraps the handlers of the distribution project with credentials, a read-only
// part for base images, and listeners with and without TLS.
//
// Content lives in two roots. Images that builds push are under Config.Dir. Base images that stand in for docker.io are
// under Config.MirrorDir and appear as repositories below MirrorPrefix, so that emptying the one keeps the other.
//
// It does not collect garbage, does not proxy other registries, and does not decide who may have a credential.
package ociregistry
