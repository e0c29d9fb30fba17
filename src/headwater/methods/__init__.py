"""Methods: one file each, named after its paper. `catalogue` lists them without importing them."""
