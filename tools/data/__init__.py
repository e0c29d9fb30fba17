"""Build scripts of the shipped sets: one module per set, each with `build(sources) -> Pack`."""
