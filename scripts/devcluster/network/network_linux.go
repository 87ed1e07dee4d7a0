// Package network makes and removes what a real node needs on the host: a network namespace without a default route, a veth pair
// into it, and guards in the root namespace.
//
// The guards are the point. Addresses of pods and Services mean nothing outside the node, and a packet to one of them that finds
// no route of its own would follow the default route off the machine. So before any link exists, the root namespace gets an
// unreachable route for each range: whatever is missing, a dial fails at once and nothing leaves.
//
// It starts no process and knows nothing of Kubernetes.
package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/scripts/devcluster/address"
)

// The guards are told from everybody else's routes by their protocol number, and give way to every other route by their metric.
const (
	guardProtocol = 92
	guardMetric   = 9_000_000
)

// alias marks the host's end of the veth pair as ours, and whose it is.
const alias = "slipway-devcluster:"

// serviceLink is a bridge without ports inside the namespace: Service addresses are routed to it, so that nftables sees packets
// to them, and what it does not rewrite gets nowhere.
const serviceLink = "svc0"

// Up makes the network of a plan for a cluster. What is there already, is kept; what belongs to another cluster is refused.
func Up(p address.Plan, owner string) error {
	if err := check(p, owner); err != nil {
		return err
	}
	if err := guard(p); err != nil {
		return err
	}
	ns, err := namespace(p.Netns)
	if err != nil {
		return err
	}
	defer ns.Close() // a file descriptor
	if err := hostLink(p, owner, ns); err != nil {
		return err
	}
	if err := nodeLinks(p, ns); err != nil {
		return err
	}
	return In(p.Netns, settings)
}

// Down removes everything that Up makes; what is missing is fine. The guards go last.
func Down(p address.Plan, owner string) error {
	link, err := netlink.LinkByName(p.HostLink)
	switch {
	case err == nil:
		if got := link.Attrs().Alias; got != alias+owner {
			return fmt.Errorf("link %s %w (%s), it is left alone", p.HostLink, ErrNotOwner, strings.TrimPrefix(got, alias))
		}
		if err := netlink.LinkDel(link); err != nil {
			return fmt.Errorf("remove link %s: %w", p.HostLink, err)
		}
	case !errors.As(err, &netlink.LinkNotFoundError{}):
		return fmt.Errorf("look for link %s: %w", p.HostLink, err)
	}
	if _, err := os.Stat(Path(p.Netns)); err == nil {
		if err := netns.DeleteNamed(p.Netns); err != nil {
			return fmt.Errorf("remove network namespace %s: %w", p.Netns, err)
		}
	}
	for _, r := range p.Guarded() {
		err := netlink.RouteDel(guardRoute(r))
		if err != nil && !errors.Is(err, unix.ESRCH) && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("remove the guard of %s: %w", r, err)
		}
	}
	return nil
}

// Path returns where a named network namespace is mounted.
func Path(name string) string { return filepath.Join("/run/netns", name) }

// In runs f on a thread inside a network namespace; a process that f starts is born there. The thread is thrown away.
func In(name string, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the runtime ends the thread with the goroutine
		ns, err := netns.GetFromName(name)
		if err != nil {
			done <- fmt.Errorf("open network namespace %s: %w", name, err)
			return
		}
		defer ns.Close() // a file descriptor
		if err := netns.Set(ns); err != nil {
			done <- fmt.Errorf("enter network namespace %s: %w", name, err)
			return
		}
		done <- f()
	}()
	return <-done
}

// check refuses ranges that the machine already uses, and links of another cluster.
func check(p address.Plan, owner string) error {
	link, err := netlink.LinkByName(p.HostLink)
	own := -1
	if err == nil {
		if got := link.Attrs().Alias; got != alias+owner {
			return fmt.Errorf("index %d is taken by %q: choose another --index", p.Index, strings.TrimPrefix(got, alias))
		}
		own = link.Attrs().Index
	}
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return fmt.Errorf("list routes: %w", err)
	}
	for _, r := range routes {
		if r.Dst == nil || r.Protocol == guardProtocol || r.LinkIndex == own {
			continue
		}
		ip, ok := netip.AddrFromSlice(r.Dst.IP.To4())
		ones, _ := r.Dst.Mask.Size()
		if !ok || ones == 0 {
			continue
		}
		dst := netip.PrefixFrom(ip, ones)
		if i := slices.IndexFunc(p.Guarded(), dst.Overlaps); i >= 0 {
			return fmt.Errorf("%s of index %d overlaps the existing route %s: choose another --index", p.Guarded()[i], p.Index, dst)
		}
	}
	return nil
}

func guardRoute(r netip.Prefix) *netlink.Route {
	return &netlink.Route{
		Dst:  &net.IPNet{IP: r.Addr().AsSlice(), Mask: net.CIDRMask(r.Bits(), r.Addr().BitLen())},
		Type: unix.RTN_UNREACHABLE, Protocol: guardProtocol, Priority: guardMetric, Table: unix.RT_TABLE_MAIN,
	}
}

func guard(p address.Plan) error {
	for _, r := range p.Guarded() {
		if err := netlink.RouteAdd(guardRoute(r)); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("guard %s with an unreachable route: %w", r, err)
		}
	}
	return nil
}

func namespace(name string) (netns.NsHandle, error) {
	if ns, err := netns.GetFromName(name); err == nil {
		return ns, nil
	}
	made := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // NewNamed moves the thread into the new namespace; it ends with the goroutine
		ns, err := netns.NewNamed(name)
		if err == nil {
			err = ns.Close()
		}
		made <- err
	}()
	if err := <-made; err != nil {
		return netns.None(), fmt.Errorf("make network namespace %s: %w", name, err)
	}
	ns, err := netns.GetFromName(name)
	if err != nil {
		return netns.None(), fmt.Errorf("open network namespace %s: %w", name, err)
	}
	return ns, nil
}

func hostLink(p address.Plan, owner string, ns netns.NsHandle) error {
	link, err := netlink.LinkByName(p.HostLink)
	if err != nil {
		veth := netlink.NewVeth(netlink.LinkAttrs{Name: p.HostLink})
		veth.PeerName, veth.PeerNamespace = p.NodeLink, netlink.NsFd(int(ns))
		if err := netlink.LinkAdd(veth); err != nil {
			return fmt.Errorf("make veth pair %s: %w", p.HostLink, err)
		}
		if link, err = netlink.LinkByName(p.HostLink); err != nil {
			return fmt.Errorf("find veth %s just made: %w", p.HostLink, err)
		}
		if err := netlink.LinkSetAlias(link, alias+owner); err != nil {
			return fmt.Errorf("mark veth %s: %w", p.HostLink, err)
		}
	}
	if err := noIPv6(p.HostLink); err != nil {
		return err
	}
	return setUp(nil, link, p.HostIP, p.Link)
}

func nodeLinks(p address.Plan, ns netns.NsHandle) error {
	h, err := netlink.NewHandleAt(ns)
	if err != nil {
		return fmt.Errorf("talk to network namespace %s: %w", p.Netns, err)
	}
	defer h.Close()
	if err := h.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: serviceLink}}); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("make bridge %s in %s: %w", serviceLink, p.Netns, err)
	}
	for _, want := range []struct {
		name string
		ip   netip.Addr
	}{{"lo", netip.Addr{}}, {p.NodeLink, p.NodeIP}, {serviceLink, netip.Addr{}}} {
		link, err := h.LinkByName(want.name)
		if err != nil {
			return fmt.Errorf("find link %s in %s: %w", want.name, p.Netns, err)
		}
		if err := setUp(h, link, want.ip, p.Link); err != nil {
			return err
		}
		if want.name != serviceLink {
			continue
		}
		err = h.RouteReplace(&netlink.Route{
			LinkIndex: link.Attrs().Index, Dst: guardRoute(p.Services).Dst, Src: p.NodeIP.AsSlice(), Scope: netlink.SCOPE_LINK,
		})
		if err != nil {
			return fmt.Errorf("route Services in %s: %w", p.Netns, err)
		}
	}
	return nil
}

func setUp(h *netlink.Handle, link netlink.Link, ip netip.Addr, within netip.Prefix) error {
	if h == nil {
		h = &netlink.Handle{}
	}
	name := link.Attrs().Name
	if ip.IsValid() {
		addr := &netlink.Addr{IPNet: &net.IPNet{IP: ip.AsSlice(), Mask: net.CIDRMask(within.Bits(), 32)}}
		if err := h.AddrAdd(link, addr); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("give %s the address %s: %w", name, ip, err)
		}
	}
	if err := h.LinkSetUp(link); err != nil {
		return fmt.Errorf("set link %s up: %w", name, err)
	}
	return nil
}

// noIPv6 keeps a link from talking IPv6 by itself. A kernel without IPv6 has nothing to set.
func noIPv6(link string) error {
	path := filepath.Join("/proc/sys/net/ipv6/conf", link, "disable_ipv6")
	if err := os.WriteFile(path, []byte("1"), 0); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("turn IPv6 off on %s: %w", link, err)
	}
	return nil
}

// settings are those of the network namespace that the calling thread is in.
func settings() error {
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0); err != nil {
		return fmt.Errorf("let the node forward to its pods: %w", err)
	}
	return noIPv6("all")
}
