// Package docs runs the shell examples of the pages as a reader would: in their order, with
// the real slipway, a real farm and a cluster that it starts. That there is no example which
// nobody runs is tested by internal/docstest.
package docs
