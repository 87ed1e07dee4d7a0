// Package buildkitd runs BuildKit's daemon as a child process: it finds the program, writes its configuration, starts
// it, waits until its API answers, starts it again when it dies, and stops it without leaving a mount or a build step
// behind. A child process, not a library: a build that takes it down takes nothing else down.
//
// It needs Linux and root, since build steps are run by runc with overlay mounts. It does not build anything, and it
// holds no registry credential: those travel with each build in its client's session.
package buildkitd
