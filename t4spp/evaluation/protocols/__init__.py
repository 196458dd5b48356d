"""Evaluation protocols: named presets of what is compared, at which size, and averaged how."""
