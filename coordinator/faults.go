//go:build !chaos

package main

// faults are in the builds of make chaos only.
func faults(func(string) (string, bool)) {}
