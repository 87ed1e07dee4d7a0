// Catalog answers what the shop sells, for how much, and how many are left.
package main

import (
	"fmt"
	"os"

	"shop.example/libs/kit"
)

func main() {
	catalog, err := NewCatalog(products)
	if err != nil {
		fmt.Fprintln(os.Stderr, "catalog:", err)
		os.Exit(1)
	}
	os.Exit(kit.Main("catalog", catalog.Routes()))
}
