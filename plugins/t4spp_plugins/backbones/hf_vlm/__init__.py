"""hf-vlm: transformers' image-text-to-text models behind one adapter, a small profile a family."""
