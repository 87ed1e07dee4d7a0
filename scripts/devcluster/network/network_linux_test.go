package network_test

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/slipway-build/slipway/scripts/devcluster/address"
	"github.com/slipway-build/slipway/scripts/devcluster/doctor"
	"github.com/slipway-build/slipway/scripts/devcluster/network"
)

// The index of these tests; those of whole clusters use others.
const index = 241

func plan(t *testing.T) address.Plan {
	t.Helper()
	if missing := doctor.Missing(doctor.Check(doctor.Options{})); len(missing) > 0 {
		t.Skipf("this machine cannot run a real node:\n%s", strings.Join(missing, "\n"))
	}
	p, err := address.ForIndex(index)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestUpIsGuardedIdempotentAndUndone(t *testing.T) {
	p := plan(t)
	before := routes(t, p)
	t.Cleanup(func() {
		if err := network.Down(p, "test"); err != nil {
			t.Error(err)
		}
	})
	for range 2 {
		if err := network.Up(p, "test"); err != nil {
			t.Fatal(err)
		}
	}
	if err := network.Up(p, "other"); err == nil || !strings.Contains(err.Error(), "--index") {
		t.Errorf("another cluster took index %d: %v", index, err)
	}
	for _, addr := range []string{p.Kubernetes.String() + ":443", p.Pods.Addr().Next().String() + ":80"} {
		_, err := (&net.Dialer{Timeout: 10 * time.Second}).Dial("tcp", addr)
		if !errors.Is(err, syscall.EHOSTUNREACH) && !errors.Is(err, syscall.ENETUNREACH) {
			t.Errorf("dial %s from the root namespace: %v; want unreachable", addr, err)
		}
	}
	err := network.In(p.Netns, func() error {
		_, err := (&net.Dialer{Timeout: 10 * time.Second}).Dial("tcp", "192.0.2.1:80")
		return err
	})
	if !errors.Is(err, syscall.ENETUNREACH) {
		t.Errorf("dial an address outside from the node: %v; want unreachable", err)
	}
	if err := network.Down(p, "other"); err == nil {
		t.Error("another cluster removed the network")
	}
	for range 2 {
		if err := network.Down(p, "test"); err != nil {
			t.Fatal(err)
		}
	}
	if after := routes(t, p); after != before {
		t.Errorf("routes before:\n%s\nafter:\n%s", before, after)
	}
	if _, err := netns.GetFromName(p.Netns); err == nil {
		t.Errorf("network namespace %s is still there", p.Netns)
	}
}

func TestOverlapWithAnExistingRouteIsRefused(t *testing.T) {
	p := plan(t)
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	_, dst, err := net.ParseCIDR(p.Pods.String())
	if err != nil {
		t.Fatal(err)
	}
	r := &netlink.Route{LinkIndex: lo.Attrs().Index, Dst: dst, Scope: netlink.SCOPE_LINK}
	if err := netlink.RouteAdd(r); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := netlink.RouteDel(r); err != nil {
			t.Error(err)
		}
	})
	err = network.Up(p, "test")
	if err == nil || !strings.Contains(err.Error(), p.Pods.String()) {
		t.Errorf("up over an existing route: %v; want a refusal that names it", err)
	}
	if _, err := netns.GetFromName(p.Netns); err == nil {
		t.Error("the refusal came after something was made")
	}
}

func TestHoldIsForOneAndSaysForWhom(t *testing.T) {
	p := plan(t)
	first, err := network.Hold(p, "a long name of the first")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := network.Hold(p, "second"); !errors.Is(err, network.ErrInUse) {
		t.Errorf("hold of a held index: %v; want ErrInUse", err)
	}
	if who, err := network.HeldBy(p); err != nil || who != "a long name of the first" {
		t.Errorf("held by %q, %v; want the first", who, err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second, err := network.Hold(p, "second")
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close() // only locked
	if who, err := network.HeldBy(p); err != nil || who != "second" {
		t.Errorf("held by %q, %v; want second", who, err)
	}
}

// routes are those of the plan: clusters of other tests come and go meanwhile.
func routes(t *testing.T, p address.Plan) string {
	t.Helper()
	all, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, r := range all {
		if r.Dst == nil {
			continue
		}
		dst, ok := netip.AddrFromSlice(r.Dst.IP.To4())
		if ok && slices.ContainsFunc(p.Guarded(), func(own netip.Prefix) bool { return own.Contains(dst) }) {
			b.WriteString(r.String() + "\n")
		}
	}
	return b.String()
}
