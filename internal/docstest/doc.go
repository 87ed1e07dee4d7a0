// Package docstest holds the tests of the documentation: examples are read by the
// programs that they are for, commands and flags exist, links lead somewhere, and
// messages that are quoted are messages of the source.
//
// It does not judge what pages say, and the references that are made from the source are
// tested beside it: slipway.yaml and targets.yaml in coordinator/pipeline, the command
// line in slipway/command, configuration in internal/depstest.
package docstest
