"""What a person looks at: overlays, charts, galleries and the pages that hold them."""
