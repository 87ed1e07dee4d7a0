package depstest

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	coordinatorconfig "github.com/slipway-build/slipway/coordinator/config"
	deployerconfig "github.com/slipway-build/slipway/deploy/config"
	workerconfig "github.com/slipway-build/slipway/worker/config"
)

func TestConfigurationPageHasEveryKey(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "configuration.md"))
	if err != nil {
		t.Fatal(err)
	}
	for name, config := range map[string]any{
		"coordinator": coordinatorconfig.Config{}, "worker": workerconfig.Config{}, "deployer": deployerconfig.Config{},
	} {
		var documented, known []string
		for _, cells := range rows(t, string(page), name, 3) {
			documented = append(documented, key(unquote(cells[0]), cells[2] == "required"))
		}
		known = keys(reflect.TypeOf(config), "", known)
		slices.Sort(documented)
		slices.Sort(known)
		if diff := cmp.Diff(known, documented); diff != "" {
			t.Errorf("docs/configuration.md: the keys of the %s differ from its table (-program +page):\n%s", name, diff)
		}
	}
}

// keys are the keys that a configuration can have: a.b for structs, a.*.b for maps, a[].b for lists.
func keys(t reflect.Type, prefix string, found []string) []string {
	for i := range t.NumField() {
		name, options, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ",")
		if name == "" {
			continue
		}
		found = append(found, key(prefix+name, options == "required"))
		of, below := t.Field(i).Type, prefix+name+"."
		switch of.Kind() {
		case reflect.Pointer:
			of = of.Elem()
		case reflect.Map:
			of, below = of.Elem(), below+"*."
		case reflect.Slice:
			of, below = of.Elem(), prefix+name+"[]."
		default:
		}
		if of.Kind() == reflect.Struct {
			found = keys(of, below, found)
		}
	}
	return found
}

func key(name string, required bool) string {
	if required {
		return name + " (required)"
	}
	return name
}
