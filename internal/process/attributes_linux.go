package process

import "syscall"

// attributes of a child: a group of its own, so that Ctrl-C is its parent's to handle, and
// an end together with its parent.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
