"""Segmenting scenes of any size with a finished run: ``t4spp predict scene.tif``."""
