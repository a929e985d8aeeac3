"""Networks that make pictures and words: room for DCGAN, style transfer and captions."""
