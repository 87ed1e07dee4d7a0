// Package install tests that Slipway builds its own images and installs its own chart into a
// cluster with a real node, far enough that the farm there answers.
package install
