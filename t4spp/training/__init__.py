"""Training: the one Accelerate loop, LoRA, checkpoints."""
