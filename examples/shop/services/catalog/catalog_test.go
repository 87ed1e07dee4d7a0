package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func get(t *testing.T, path string, out any) int {
	t.Helper()
	catalog, err := NewCatalog(products)
	if err != nil {
		t.Fatal(err)
	}
	answer := httptest.NewRecorder()
	catalog.Routes().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, path, nil))
	if err := json.Unmarshal(answer.Body.Bytes(), out); err != nil {
		t.Fatalf("%s: %v in %s", path, err, answer.Body)
	}
	return answer.Code
}

func TestSearch(t *testing.T) {
	for query, want := range map[string]string{
		"":             "bowline fender lantern compass flag winch",
		"?q=ANCHOR":    "lantern",
		"?q=rope+12":   "bowline",
		"?q=submarine": "",
	} {
		var found []Product
		get(t, "/products"+query, &found)
		var ids []string
		for _, p := range found {
			ids = append(ids, p.ID)
		}
		if got := strings.Join(ids, " "); got != want {
			t.Errorf("%q: %q, want %q", query, got, want)
		}
	}
}

func TestProduct(t *testing.T) {
	var p Product
	if status := get(t, "/products/compass", &p); status != http.StatusOK || p.Cents != 19900 {
		t.Errorf("compass: status %d, %+v", status, p)
	}
	var failure map[string]string
	if status := get(t, "/products/anchor", &failure); status != http.StatusNotFound || failure["error"] == "" {
		t.Errorf("unknown product: status %d, %v", status, failure)
	}
}

func TestRefusesWhatCannotBeSold(t *testing.T) {
	for name, content := range map[string]string{
		"no price": `[{"id": "a", "name": "A"}]`,
		"twice":    `[{"id": "a", "name": "A", "cents": 1}, {"id": "a", "name": "B", "cents": 2}]`,
		"no JSON":  `products`,
	} {
		if _, err := NewCatalog([]byte(content)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
