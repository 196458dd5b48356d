"""Recipes: remote sensing."""
