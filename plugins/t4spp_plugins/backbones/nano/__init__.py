"""nano: a small LLaVA (vision tower, connector, Llama) that trains on two CPU cores."""
