// Package command is the command line of slipway: what the commands are called, what
// they take, in which order they ask the coordinator, and which exit code they end with.
//
// It reads no environment and no process arguments: main hands everything over as an
// Env, so that tests run commands as users do. What is printed comes from render and
// progress.
package command
