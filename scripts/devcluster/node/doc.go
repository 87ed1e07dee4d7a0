// Package node runs one real node: kubelet, containerd, kube-proxy and CoreDNS, with the control plane beside them, as the
// children of one init process that has process ids, mounts and network of its own.
//
// That init is what makes the node safe to have on a machine. Whatever the node mounts exists only in its mount namespace and
// goes with it; whatever it starts, shims and containers included, is killed by the kernel when the init ends, however it ends;
// the machine-wide sysctls that the kubelet sets are covered by files, so the machine's own never change; and it has no default
// route. Left to remove are its folder, its cgroups and its links.
//
// It does not make the network (package network) or decide when to start and stop (package cluster).
package node
