"""Scenes, windows, coordinate reference systems and vectors. Imports no library at the top."""
