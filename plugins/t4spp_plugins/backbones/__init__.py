"""In-tree backbones."""
