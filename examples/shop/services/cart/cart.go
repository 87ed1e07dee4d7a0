package main

import (
	"cmp"
	"net/http"
	"slices"
	"sync"

	"shop.example/libs/kit"
)

// Item is so many of one product, at the price it had when it was put into the cart.
type Item struct {
	Product  string `json:"product"`
	Name     string `json:"name"`
	Cents    int    `json:"cents"`
	Quantity int    `json:"quantity"`
}

// Cart is what one customer is about to buy.
type Cart struct {
	ID    string `json:"id"`
	Items []Item `json:"items"` // sorted by product
	Total int    `json:"total"` // cents
}

// Carts keeps every cart in memory: one that is lost when the service restarts annoys a customer and no more.
type Carts struct {
	catalog *kit.Client

	mu    sync.Mutex
	items map[string]map[string]Item // cart → product → item
}

// NewCarts makes a service without carts that asks the catalog about products.
func NewCarts(catalog *kit.Client) *Carts {
	return &Carts{catalog: catalog, items: map[string]map[string]Item{}}
}

// Routes are GET and DELETE /carts/{cart}, and PUT /carts/{cart}/items/{product} with {"quantity": n}, 0 to remove.
func (c *Carts) Routes() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /carts/{cart}", kit.Handler(c.show))
	mux.Handle("DELETE /carts/{cart}", kit.Handler(c.empty))
	mux.Handle("PUT /carts/{cart}/items/{product}", kit.Handler(c.put))
	return mux
}

func (c *Carts) show(w http.ResponseWriter, r *http.Request) error {
	kit.WriteJSON(w, http.StatusOK, c.cart(r.PathValue("cart")))
	return nil
}

func (c *Carts) empty(w http.ResponseWriter, r *http.Request) error {
	c.mu.Lock()
	delete(c.items, r.PathValue("cart"))
	c.mu.Unlock()
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (c *Carts) put(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Quantity int `json:"quantity"`
	}
	if err := kit.ReadJSON(r, &in); err != nil {
		return err
	}
	if in.Quantity < 0 {
		return kit.Errorf(http.StatusBadRequest, "quantity %d: want 0 or more", in.Quantity)
	}
	var product struct {
		ID    string `json:"id"`
		Name  string `json:"name"`
		Cents int    `json:"cents"`
		Stock int    `json:"stock"`
	}
	if err := c.catalog.Call(r.Context(), http.MethodGet, "/products/"+r.PathValue("product"), nil, &product); err != nil {
		return err
	}
	if in.Quantity > product.Stock {
		return kit.Errorf(http.StatusConflict, "%d of %q wanted, %d left", in.Quantity, product.ID, product.Stock)
	}
	c.set(r.PathValue("cart"), Item{Product: product.ID, Name: product.Name, Cents: product.Cents, Quantity: in.Quantity})
	return c.show(w, r)
}

func (c *Carts) set(cart string, item Item) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.items[cart] == nil {
		c.items[cart] = map[string]Item{}
	}
	if item.Quantity == 0 {
		delete(c.items[cart], item.Product)
		return
	}
	c.items[cart][item.Product] = item
}

func (c *Carts) cart(id string) Cart {
	c.mu.Lock()
	defer c.mu.Unlock()
	cart := Cart{ID: id, Items: []Item{}}
	for _, item := range c.items[id] {
		cart.Items = append(cart.Items, item)
		cart.Total += item.Cents * item.Quantity
	}
	slices.SortFunc(cart.Items, func(a, b Item) int { return cmp.Compare(a.Product, b.Product) })
	return cart
}
