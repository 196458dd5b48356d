"""Report of t4spp."""
