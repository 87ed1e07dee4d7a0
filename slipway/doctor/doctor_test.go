package doctor_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/slipway/doctor"
)

// listen takes a port of this machine.
func listen(t *testing.T) (address string, port int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	a, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		t.Fatalf("address %v", l.Addr())
	}
	return l.Addr().String(), a.Port
}

func find(t *testing.T, list []doctor.Finding, what string) doctor.Finding {
	t.Helper()
	for _, f := range list {
		if f.What == what {
			return f
		}
	}
	t.Fatalf("nothing is said of %s: %v", what, list)
	return doctor.Finding{}
}

func TestWhatIsMissing(t *testing.T) {
	tools := t.TempDir()
	for name, mode := range map[string]os.FileMode{"runc": 0o644, "git": 0o755} { // runc cannot be run
		if err := os.WriteFile(filepath.Join(tools, name), []byte("#!/bin/sh\necho git version 2.47.1\n"), mode); err != nil {
			t.Fatal(err)
		}
	}
	_, taken := listen(t)
	list := doctor.Machine{
		OS: "linux", UID: 1000, State: filepath.Join(tools, "not", "there", "yet"), Tools: tools, Path: t.TempDir(),
		Ports: map[string]int{"gRPC": taken}, Registry: "127.0.0.1:1", Proxies: []string{"HTTPS_PROXY"},
		Contexts: []doctor.Context{{Name: "kind-dev", Version: "v1.34.1"}, {Name: "old", Err: errors.New("connection refused")}, {Name: "eks", Exec: "aws"}},
	}.Look(t.Context())
	for what, want := range map[string]struct {
		state         doctor.State
		found, remedy string
	}{
		"system":           {doctor.Missing, "user 1000", "sudo"},
		"git":              {doctor.OK, "2.47.1", ""},
		"runc":             {doctor.Missing, "not found", "apt-get install runc"},
		"BuildKit":         {doctor.Missing, "not found", "make tools"},
		"ports":            {doctor.Missing, "(gRPC)", "slipway up"},
		"base images":      {doctor.Note, "connection refused", "slipway images bootstrap"},
		"proxy":            {doctor.Note, "HTTPS_PROXY", "RUN"},
		"cluster kind-dev": {doctor.OK, "v1.34.1", ""},
		"cluster old":      {doctor.Note, "connection refused", "kubectl --context old"},
		"cluster eks":      {doctor.Note, "credentials from aws", "--allow-exec"},
	} {
		f := find(t, list, what)
		if f.State != want.state || !strings.Contains(f.Found, want.found) || !strings.Contains(f.Remedy, want.remedy) || (want.remedy == "") != (f.Remedy == "") {
			t.Errorf("%s: %+v, want %+v", what, f, want)
		}
	}
	if f := find(t, list, "disk"); f.State == doctor.Missing || !strings.Contains(f.Found, "GiB free") {
		t.Errorf("disk: %+v", f)
	}
}

func TestAKubeconfigThatCannotBeRead(t *testing.T) {
	f := find(t, doctor.Machine{OS: "linux", State: t.TempDir(), Kubeconfig: errors.New("kubeconfig: no map")}.Look(t.Context()), "clusters")
	if f.State != doctor.Note || f.Found != "kubeconfig: no map" || !strings.Contains(f.Remedy, "--kubeconfig") {
		t.Errorf("%+v", f)
	}
}

func TestNothingIsMissing(t *testing.T) {
	tools := t.TempDir()
	for _, name := range []string{"runc", "git", "buildkitd"} {
		if err := os.WriteFile(filepath.Join(tools, name), []byte("#!/bin/sh\necho git version 2.47.1\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	address, port := listen(t)
	for _, f := range (doctor.Machine{
		OS: "linux", State: t.TempDir(), Tools: tools, Running: true, Ports: map[string]int{"gRPC": port}, Registry: address,
	}).Look(t.Context()) {
		if f.State == doctor.Missing {
			t.Errorf("%+v", f)
		}
	}
}
