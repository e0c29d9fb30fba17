"""Claims: each method's headline, in miniature, on real data. `headwater reproduce` runs them."""
