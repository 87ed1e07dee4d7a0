// Cart keeps what customers are about to buy. It asks catalog for prices and stock.
package main

import (
	"os"

	"shop.example/libs/kit"
)

func main() {
	catalog := kit.NewClient("catalog", kit.URL(os.Getenv, "catalog"))
	os.Exit(kit.Main("cart", NewCarts(catalog).Routes()))
}
