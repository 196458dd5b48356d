"""Decoding of t4spp."""
