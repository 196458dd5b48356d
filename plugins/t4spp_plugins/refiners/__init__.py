"""In-tree refiners."""
