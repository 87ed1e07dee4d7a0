package kubetest

import (
	"os/exec"
	"runtime"
	"syscall"
)

// dieWithParent lets the cluster end with a test process that is killed or runs into its timeout. The kernel sends the signal
// when the thread that started the child ends, so that thread is kept.
func dieWithParent(cmd *exec.Cmd) {
	runtime.LockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
}
