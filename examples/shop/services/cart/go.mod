module shop.example/services/cart

go 1.26

require shop.example/libs/kit v0.0.0

replace shop.example/libs/kit => ../../libs/kit
