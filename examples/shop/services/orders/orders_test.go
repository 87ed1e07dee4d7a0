package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"shop.example/libs/kit"
)

func TestTotal(t *testing.T) {
	for _, test := range []struct {
		name  string
		lines []Line
		want  int
	}{
		{"with shipping", []Line{{Cents: 2450, Quantity: 2}}, 4900 + shipping},
		{"just below free shipping", []Line{{Cents: shippingFree - 1, Quantity: 1}}, shippingFree - 1 + shipping},
		{"free shipping", []Line{{Cents: 2450, Quantity: 2}, {Cents: 5100, Quantity: 1}}, 10000},
	} {
		if got := total(test.lines); got != test.want {
			t.Errorf("%s: %d, want %d", test.name, got, test.want)
		}
	}
}

// carts is a cart service with one full cart, which counts how often it was emptied.
func carts(t *testing.T, emptied *int) *kit.Client {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodDelete:
			*emptied++
			w.WriteHeader(http.StatusNoContent)
		case r.URL.Path == "/carts/ada":
			fmt.Fprint(w, `{"id": "ada", "items": [{"product": "compass", "name": "Compass", "cents": 19900, "quantity": 1}]}`)
		default:
			fmt.Fprint(w, `{"items": []}`)
		}
	}))
	t.Cleanup(server.Close)
	return kit.NewClient("cart", server.URL)
}

func TestPlace(t *testing.T) {
	emptied := 0
	now := time.Date(2026, 11, 3, 9, 0, 0, 0, time.UTC)
	routes := NewOrders(carts(t, &emptied), func() time.Time { return now }).Routes()
	do := func(method, path, body string) (int, Order) {
		answer := httptest.NewRecorder()
		routes.ServeHTTP(answer, httptest.NewRequest(method, path, strings.NewReader(body)))
		var order Order
		if err := json.Unmarshal(answer.Body.Bytes(), &order); err != nil {
			t.Fatalf("%s %s: %v", method, path, err)
		}
		return answer.Code, order
	}

	status, order := do(http.MethodPost, "/orders", `{"cart": "ada"}`)
	if status != http.StatusCreated || order.Total != 19900 || !order.Placed.Equal(now) || emptied != 1 {
		t.Fatalf("status %d, order %+v, cart emptied %d times", status, order, emptied)
	}
	if status, found := do(http.MethodGet, "/orders/"+order.ID, ""); status != http.StatusOK || found.Total != order.Total {
		t.Errorf("the order placed: status %d, %+v", status, found)
	}
	for body, want := range map[string]int{`{"cart": "bob"}`: http.StatusConflict, `{}`: http.StatusBadRequest} {
		if status, _ := do(http.MethodPost, "/orders", body); status != want {
			t.Errorf("%s: status %d, want %d", body, status, want)
		}
	}
	if status, _ := do(http.MethodGet, "/orders/none", ""); status != http.StatusNotFound {
		t.Errorf("unknown order: status %d", status)
	}
}
