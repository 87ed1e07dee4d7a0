// Package kubetest gives the tests of a package a real Kubernetes control plane with simulated nodes: one cluster for all of
// them, a namespace for each.
//
// It does not stand in for the API server, and it is not for real nodes. Nothing but tests imports it.
package kubetest
