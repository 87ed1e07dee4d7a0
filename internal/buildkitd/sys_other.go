//go:build !linux

package buildkitd

import (
	"errors"
	"os"
	"syscall"
)

func supported() error {
	return errors.New("buildkitd runs on Linux only: start a BuildKit elsewhere and give its address")
}

func attributes() *syscall.SysProcAttr { return nil }

func holdThread() func() { return func() {} }

func terminate(p *os.Process) error { return p.Signal(os.Interrupt) }

func (d *Daemon) clean() error { return nil }
