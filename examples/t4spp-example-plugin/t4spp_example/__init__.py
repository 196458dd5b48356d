"""An example plugin of t4spp: a scheme and a recipe."""
