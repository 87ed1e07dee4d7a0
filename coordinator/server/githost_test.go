package server_test

import (
	"encoding/pem"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// gitServer serves the repositories below root over HTTPS as git itself does, and answers
// its address and the file of the certificate that it is known by.
func gitServer(t *testing.T, root string) (address, certificate string) {
	t.Helper()
	git, err := exec.LookPath("git")
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewTLSServer(&cgi.Handler{
		Path: git, Args: []string{"http-backend"}, Stderr: t.Output(),
		Env: []string{
			"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1",
			// Other folders than the server's own user's may be asked for nowhere here.
			"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*",
		},
	})
	t.Cleanup(s.Close)
	certificate = filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return s.URL, certificate
}
