package cluster_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vishvananda/netns"

	"github.com/slipway-build/slipway/scripts/devcluster/address"
	"github.com/slipway-build/slipway/scripts/devcluster/cluster"
	"github.com/slipway-build/slipway/scripts/devcluster/clusterdir"
	"github.com/slipway-build/slipway/scripts/devcluster/doctor"
	"github.com/slipway-build/slipway/scripts/devcluster/network"
)

// killed is what a killed cluster leaves: its network, and a record of itself.
func killed(t *testing.T, index int) (address.Plan, clusterdir.Dir) {
	t.Helper()
	if missing := doctor.Missing(doctor.Check(doctor.Options{})); len(missing) > 0 {
		t.Skipf("this machine cannot run a real node:\n%s", strings.Join(missing, "\n"))
	}
	plan, err := address.ForIndex(index)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := clusterdir.Open(filepath.Join(t.TempDir(), "state"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := network.Down(plan, "killed"); err != nil {
			t.Error(err)
		}
	})
	if err := network.Up(plan, "killed"); err != nil {
		t.Fatal(err)
	}
	record := fmt.Appendf(nil, `{"index":%d,"owner":"killed"}`, index)
	if err := os.WriteFile(dir.Path("node.json"), record, 0o600); err != nil {
		t.Fatal(err)
	}
	return plan, dir
}

func networkIsThere(plan address.Plan) bool {
	ns, err := netns.GetFromName(plan.Netns)
	if err == nil {
		_ = ns.Close()
	}
	return err == nil
}

func TestDownWaitsForWhatIsLeftOfItsOwnNode(t *testing.T) {
	plan, dir := killed(t, 239)
	index, err := network.Hold(plan, dir.Root)
	if err != nil {
		t.Fatal(err)
	}
	defer index.Close() // twice is fine
	var said []string
	err = cluster.Down(t.Context(), dir.Root, func(format string, args ...any) {
		said = append(said, fmt.Sprintf(format, args...))
		if strings.Contains(format, "waiting") {
			_ = index.Close() // the last process has ended
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if networkIsThere(plan) {
		t.Errorf("network namespace %s is still there; down said %q", plan.Netns, said)
	}
	if _, err := os.Stat(dir.Path("node.json")); !os.IsNotExist(err) {
		t.Errorf("node.json after down: %v", err)
	}
}

func TestDownLeavesAnIndexAloneThatSomebodyElseHasTaken(t *testing.T) {
	plan, dir := killed(t, 240)
	index, err := network.Hold(plan, "/somewhere/else")
	if err != nil {
		t.Fatal(err)
	}
	defer index.Close() // only locked
	if err := cluster.Down(t.Context(), dir.Root, t.Logf); err != nil {
		t.Fatal(err)
	}
	if !networkIsThere(plan) {
		t.Error("the network of a running cluster was removed")
	}
	if _, err := os.Stat(dir.Path("node.json")); !os.IsNotExist(err) {
		t.Errorf("node.json after down: %v", err)
	}
}
