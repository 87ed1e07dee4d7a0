// Package examples checks the example repositories: that their files are right, and that they build with BuildKit from
// home-made base images, with the build contexts that a worker sends.
//
// It holds no code of its own, and rolls nothing out.
package examples
