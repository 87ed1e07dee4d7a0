module shop.example/libs/kit

go 1.26
