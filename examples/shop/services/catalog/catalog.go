package main

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"shop.example/libs/kit"
)

// Product is one thing that the shop sells. Cents are euro cents, so that sums are exact.
type Product struct {
	ID    string `json:"id"`
	Name  string `json:"name"`
	Cents int    `json:"cents"`
	Stock int    `json:"stock"`
}

//go:embed products.json
var products []byte

// Catalog answers what there is to buy. It does not change while the service runs.
type Catalog struct {
	list []Product
	byID map[string]Product
}

// NewCatalog reads a list of products and refuses one that could not be sold.
func NewCatalog(content []byte) (*Catalog, error) {
	c := &Catalog{byID: map[string]Product{}}
	if err := json.Unmarshal(content, &c.list); err != nil {
		return nil, fmt.Errorf("list of products: %w", err)
	}
	for i, p := range c.list {
		if p.ID == "" || p.Name == "" || p.Cents <= 0 || p.Stock < 0 {
			return nil, fmt.Errorf("product %d (%q): wants an id, a name, a price and a stock", i, p.ID)
		}
		if _, twice := c.byID[p.ID]; twice {
			return nil, fmt.Errorf("product %q is there twice", p.ID)
		}
		c.byID[p.ID] = p
	}
	return c, nil
}

// Routes are GET /products?q=words and GET /products/{id}.
func (c *Catalog) Routes() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /products", kit.Handler(c.search))
	mux.Handle("GET /products/{id}", kit.Handler(c.product))
	return mux
}

func (c *Catalog) search(w http.ResponseWriter, r *http.Request) error {
	words := strings.Fields(strings.ToLower(r.URL.Query().Get("q")))
	found := []Product{}
	for _, p := range c.list {
		if matches(p, words) {
			found = append(found, p)
		}
	}
	kit.WriteJSON(w, http.StatusOK, found)
	return nil
}

// matches tells whether every word is in the product's name.
func matches(p Product, words []string) bool {
	name := strings.ToLower(p.Name)
	for _, word := range words {
		if !strings.Contains(name, word) {
			return false
		}
	}
	return true
}

func (c *Catalog) product(w http.ResponseWriter, r *http.Request) error {
	p, ok := c.byID[r.PathValue("id")]
	if !ok {
		return kit.Errorf(http.StatusNotFound, "no product %q", r.PathValue("id"))
	}
	kit.WriteJSON(w, http.StatusOK, p)
	return nil
}
