"""Training of t4spp."""
