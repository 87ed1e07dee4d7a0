// Package address holds the address plan of a development cluster with a real node: which addresses, ranges and names belong
// to the cluster with a given index. It is pure, so that a registry or a test can know an address before anything exists.
//
// It does not create links or routes: package network does.
package address

import (
	"fmt"
	"net/netip"
)

// MaxIndex is the largest index. Indexes start at 0; two clusters that run at once need different ones.
const MaxIndex = 250

// Plan is everything that follows from an index. The registry listens on HostIP in the root network namespace; the API server
// and the kubelet listen on NodeIP in the namespace Netns.
type Plan struct {
	Index      int          `json:"index"`
	Netns      string       `json:"netns"`
	HostLink   string       `json:"host_link"`
	NodeLink   string       `json:"node_link"`
	Link       netip.Prefix `json:"link"`
	HostIP     netip.Addr   `json:"host_ip"`
	NodeIP     netip.Addr   `json:"node_ip"`
	Pods       netip.Prefix `json:"pods"`
	Services   netip.Prefix `json:"services"`
	Kubernetes netip.Addr   `json:"kubernetes_service_ip"`
	DNS        netip.Addr   `json:"dns"`
	Cgroup     string       `json:"cgroup"`
}

// ForIndex returns the plan of an index:
//
//	10.250.I.0/24   the veth pair: .1 is the host's side, .2 the node's
//	10.244.I.0/24   pods
//	10.96.I.0/24    Services; .1 is the API server's
func ForIndex(index int) (Plan, error) {
	if index < 0 || index > MaxIndex {
		return Plan{}, fmt.Errorf("index %d: expected a number from 0 to %d", index, MaxIndex)
	}
	i := byte(index)
	name := fmt.Sprintf("slipway-%d", index)
	return Plan{
		Index:      index,
		Netns:      name,
		HostLink:   name,
		NodeLink:   "node0",
		Link:       netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 250, i, 0}), 24),
		HostIP:     netip.AddrFrom4([4]byte{10, 250, i, 1}),
		NodeIP:     netip.AddrFrom4([4]byte{10, 250, i, 2}),
		Pods:       netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 244, i, 0}), 24),
		Services:   netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 96, i, 0}), 24),
		Kubernetes: netip.AddrFrom4([4]byte{10, 96, i, 1}),
		DNS:        netip.AddrFrom4([4]byte{10, 250, i, 2}),
		Cgroup:     "/" + name,
	}, nil
}

// Guarded returns the ranges that must never leave the machine: the root network namespace gets an unreachable route for each.
func (p Plan) Guarded() []netip.Prefix {
	return []netip.Prefix{p.Link, p.Pods, p.Services}
}
