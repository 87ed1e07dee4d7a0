package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"shop.example/libs/kit"
)

// stock is a catalog that knows two products.
func stock(t *testing.T) *kit.Client {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/products/fender":
			fmt.Fprint(w, `{"id": "fender", "name": "Fender", "cents": 2450, "stock": 25}`)
		case "/products/flag":
			fmt.Fprint(w, `{"id": "flag", "name": "Flags", "cents": 7400, "stock": 1}`)
		default:
			kit.WriteJSON(w, http.StatusNotFound, kit.Error{Message: "no such product"})
		}
	}))
	t.Cleanup(server.Close)
	return kit.NewClient("catalog", server.URL)
}

func do(t *testing.T, carts *Carts, method, path, body string) (int, Cart) {
	t.Helper()
	answer := httptest.NewRecorder()
	carts.Routes().ServeHTTP(answer, httptest.NewRequest(method, path, strings.NewReader(body)))
	var cart Cart
	if answer.Code == http.StatusOK {
		if err := json.Unmarshal(answer.Body.Bytes(), &cart); err != nil {
			t.Fatal(err)
		}
	}
	return answer.Code, cart
}

func TestCart(t *testing.T) {
	carts := NewCarts(stock(t))
	if _, cart := do(t, carts, http.MethodGet, "/carts/ada", ""); len(cart.Items) != 0 || cart.Total != 0 {
		t.Errorf("a new cart holds %+v", cart)
	}
	do(t, carts, http.MethodPut, "/carts/ada/items/flag", `{"quantity": 1}`)
	_, cart := do(t, carts, http.MethodPut, "/carts/ada/items/fender", `{"quantity": 2}`)
	if cart.Total != 7400+2*2450 || len(cart.Items) != 2 || cart.Items[0].Product != "fender" {
		t.Errorf("after two additions: %+v", cart)
	}
	_, cart = do(t, carts, http.MethodPut, "/carts/ada/items/flag", `{"quantity": 0}`)
	if cart.Total != 2*2450 {
		t.Errorf("after a removal: %+v", cart)
	}
	if _, other := do(t, carts, http.MethodGet, "/carts/bob", ""); len(other.Items) != 0 {
		t.Errorf("another customer's cart holds %+v", other)
	}
	do(t, carts, http.MethodDelete, "/carts/ada", "")
	if _, cart = do(t, carts, http.MethodGet, "/carts/ada", ""); len(cart.Items) != 0 {
		t.Errorf("an emptied cart holds %+v", cart)
	}
}

func TestRefusals(t *testing.T) {
	carts := NewCarts(stock(t))
	for _, test := range []struct {
		name, product, body string
		want                int
	}{
		{"more than there are", "flag", `{"quantity": 2}`, http.StatusConflict},
		{"less than nothing", "flag", `{"quantity": -1}`, http.StatusBadRequest},
		{"no such product", "anchor", `{"quantity": 1}`, http.StatusNotFound},
		{"no JSON", "flag", `two`, http.StatusBadRequest},
	} {
		if got, _ := do(t, carts, http.MethodPut, "/carts/ada/items/"+test.product, test.body); got != test.want {
			t.Errorf("%s: status %d, want %d", test.name, got, test.want)
		}
	}
}
