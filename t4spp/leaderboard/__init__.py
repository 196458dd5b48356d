"""Schemes trained from one start under equal budgets, and where they stand."""
