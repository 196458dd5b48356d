"""The in-tree dataset recipes, registered by entry point as an outsider's would be."""
