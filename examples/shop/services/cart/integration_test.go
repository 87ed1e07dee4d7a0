//go:build integration

package main

import (
	"bufio"
	"encoding/json"
	"net/http"
	"os/exec"
	"strings"
	"testing"

	"shop.example/libs/kit"
)

// catalog starts the real catalog, which the stage "integration" of the Dockerfile builds, on a port of its own choice.
func catalog(t *testing.T) *kit.Client {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "catalog")
	cmd.Env = append(cmd.Environ(), "PORT=0")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // It was killed, and says so.
	})
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var line struct{ Msg, Address string }
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "listening" {
			port := line.Address[strings.LastIndex(line.Address, ":"):]
			return kit.NewClient("catalog", "http://127.0.0.1"+port)
		}
	}
	t.Fatalf("catalog ended before it listened: %v", lines.Err())
	return nil
}

func TestAgainstCatalog(t *testing.T) {
	carts := NewCarts(catalog(t))
	status, cart := do(t, carts, http.MethodPut, "/carts/ada/items/lantern", `{"quantity": 2}`)
	if status != http.StatusOK || cart.Total != 2*8900 || cart.Items[0].Name != "Brass anchor lantern" {
		t.Errorf("two lanterns: status %d, %+v", status, cart)
	}
	if status, _ := do(t, carts, http.MethodPut, "/carts/ada/items/winch", `{"quantity": 1}`); status != http.StatusConflict {
		t.Errorf("a winch, of which there are none: status %d", status)
	}
	if status, _ := do(t, carts, http.MethodPut, "/carts/ada/items/anchor", `{"quantity": 1}`); status != http.StatusNotFound {
		t.Errorf("an unknown product: status %d", status)
	}
}
