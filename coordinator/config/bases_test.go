package config_test

import (
	"strings"
	"testing"
	"time"

	"github.com/slipway-build/slipway/coordinator/config"
)

func TestMistakesInBaseImages(t *testing.T) {
	var c config.Config
	c.Default()
	if c.BaseImages.Resolve || c.BaseImages.Fresh != time.Minute {
		t.Errorf("default: %+v", c.BaseImages)
	}
	c.BaseImages = config.BaseImages{Fresh: -time.Second, Registries: []config.BaseRegistry{
		{Host: "docker.io", Mirrors: []string{"mirror.example.com/docker.io"}}, {Host: "https://ghcr.io", Mirrors: []string{""}},
	}}
	err := c.Validate()
	if err == nil {
		t.Fatal("nothing is wrong")
	}
	for _, want := range []string{
		"base_images.fresh: -1s, want a time that is not negative", `base_images.registries[1]: "https://ghcr.io", want host[:port], and for a mirror host[:port]/path`, `base_images.registries[1]: "", want`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not said:\n%v", want, err)
		}
	}
	if strings.Contains(err.Error(), "registries[0]") {
		t.Errorf("of what is right is said: %v", err)
	}
}
