"""Recipes: natural."""
