"""Semantic datasets of photographs, each nameable as a recipe, and what they share."""
