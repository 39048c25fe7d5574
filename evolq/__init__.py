"""Optimizers that walk on the loss surface of a quantized network. The optimizers arrive in a later release."""
