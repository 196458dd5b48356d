"""The manifest of pretrained weights that come with t4spp."""
