"""Frozen image encoders that backbones and refiners share."""
