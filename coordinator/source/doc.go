// Package source is the mirror: one bare repository for each remote, from which the
// coordinator plans and workers get a commit. It answers what a ref names now, the ids
// of trees, which paths changed, files at a commit, and what a commit holds at some paths.
//
// Everything that comes in is somebody else's: addresses, refs, paths, the content of
// repositories. Only https, ssh and, where the configuration allows it, absolute local
// paths are dialed; nothing of a repository is ever executed, and its attributes
// (export-ignore, filters, line endings) change no byte of what is served, since the
// identity of a service is made of tree ids.
//
// Objects of Git LFS are fetched when they are asked for, checked, and kept by their ids.
//
// A submodule is fetched, as any remote, where it is named. The package never writes
// to a remote, and knows nothing of pipelines.
package source
