"""Evaluation of t4spp."""
