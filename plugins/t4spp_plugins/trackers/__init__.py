"""In-tree trackers."""
