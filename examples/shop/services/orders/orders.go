package main

import (
	"crypto/rand"
	"net/http"
	"sync"
	"time"

	"shop.example/libs/kit"
)

// Order is a cart that was bought.
type Order struct {
	ID     string    `json:"id"`
	Cart   string    `json:"cart"`
	Lines  []Line    `json:"lines"`
	Total  int       `json:"total"` // cents, with shipping
	Placed time.Time `json:"placed"`
}

// Line is so many of one product.
type Line struct {
	Product  string `json:"product"`
	Name     string `json:"name"`
	Cents    int    `json:"cents"`
	Quantity int    `json:"quantity"`
}

// Shipping in cents, free from a certain sum on.
const (
	shipping     = 495
	shippingFree = 10000
)

// Orders places orders and remembers them.
type Orders struct {
	cart *kit.Client
	now  func() time.Time

	mu     sync.Mutex
	placed map[string]Order
}

// NewOrders makes a service without orders that takes them from carts.
func NewOrders(cart *kit.Client, now func() time.Time) *Orders {
	return &Orders{cart: cart, now: now, placed: map[string]Order{}}
}

// Routes are POST /orders with {"cart": id}, and GET /orders/{id}.
func (o *Orders) Routes() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("POST /orders", kit.Handler(o.place))
	mux.Handle("GET /orders/{id}", kit.Handler(o.show))
	return mux
}

// place turns a cart into an order. The order is kept before the cart is emptied: a cart that stays full can be emptied
// by the customer, a lost order cannot be found again.
func (o *Orders) place(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Cart string `json:"cart"`
	}
	if err := kit.ReadJSON(r, &in); err != nil {
		return err
	}
	if in.Cart == "" {
		return kit.Errorf(http.StatusBadRequest, "no cart given")
	}
	var cart struct {
		Items []Line `json:"items"`
	}
	if err := o.cart.Call(r.Context(), http.MethodGet, "/carts/"+in.Cart, nil, &cart); err != nil {
		return err
	}
	if len(cart.Items) == 0 {
		return kit.Errorf(http.StatusConflict, "cart %q is empty", in.Cart)
	}
	order := Order{ID: rand.Text()[:10], Cart: in.Cart, Lines: cart.Items, Total: total(cart.Items), Placed: o.now()}
	o.mu.Lock()
	o.placed[order.ID] = order
	o.mu.Unlock()
	if err := o.cart.Call(r.Context(), http.MethodDelete, "/carts/"+in.Cart, nil, nil); err != nil {
		return err
	}
	w.Header().Set("Location", "/orders/"+order.ID)
	kit.WriteJSON(w, http.StatusCreated, order)
	return nil
}

func (o *Orders) show(w http.ResponseWriter, r *http.Request) error {
	o.mu.Lock()
	order, ok := o.placed[r.PathValue("id")]
	o.mu.Unlock()
	if !ok {
		return kit.Errorf(http.StatusNotFound, "no order %q", r.PathValue("id"))
	}
	kit.WriteJSON(w, http.StatusOK, order)
	return nil
}

// total is the sum of the lines, with shipping.
func total(lines []Line) int {
	sum := 0
	for _, l := range lines {
		sum += l.Cents * l.Quantity
	}
	if sum < shippingFree {
		sum += shipping
	}
	return sum
}
