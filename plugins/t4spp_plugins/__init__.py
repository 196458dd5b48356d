"""The in-tree plugins, registered by entry point as an outsider's would be."""
