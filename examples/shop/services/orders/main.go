// Orders turns carts into orders.
package main

import (
	"os"
	"time"

	"shop.example/libs/kit"
)

func main() {
	cart := kit.NewClient("cart", kit.URL(os.Getenv, "cart"))
	os.Exit(kit.Main("orders", NewOrders(cart, time.Now).Routes()))
}
