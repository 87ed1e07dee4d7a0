package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/coordinator/config"
)

// TestSigning: the files are read beside the configuration; a password that opens nothing is a mistake, and so is a file that is not there.
func TestSigning(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"k": "a key\n", "p": "a password\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	load := func(signing string) (config.Config, error) {
		file := filepath.Join(dir, "coordinator.yaml")
		if err := os.WriteFile(file, []byte("state: /s\nnats: { url: nats://127.0.0.1 }\nregistry: r\ntokens: [{ name: a, hash: x, role: view }]\nsigning: "+signing+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return config.Load(file)
	}
	c, _ := load("{ key_file: k, password_file: p }")
	if string(c.Signing.Key) != "a key\n" || c.Signing.Password != "a password" {
		t.Errorf("%q, %q", c.Signing.Key, c.Signing.Password)
	}
	for signing, want := range map[string]string{
		"{ password_file: p }": "signing.password_file without signing.key_file: name the key that it opens",
		"{ key_file: gone }":   "signing.key_file: ",
	} {
		if _, err := load(signing); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", signing, err)
		}
	}
}
