"""Recipes: synthetic."""
