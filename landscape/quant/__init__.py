"""Quantization: pure functions on tensors, and the observers that choose their parameters."""
