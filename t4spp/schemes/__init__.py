"""Schemes of t4spp."""
