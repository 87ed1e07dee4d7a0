//go:build !linux

package main

import (
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

func redirect(from, to *os.File) error {
	return unix.Dup2(int(from.Fd()), int(to.Fd()))
}

func nodeCommands() []*cobra.Command { return nil }
