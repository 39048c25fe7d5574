"""Curvature of the loss over scales and weights, and how far a quadratic model of it holds."""
