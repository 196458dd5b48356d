"""The backbone ``smol``: MobileSAM's encoder, a connector, SmolLM2-135M-Instruct."""
