"""Training cutouts: cut from tiles, real fields and simulations into shards, and read from them."""
