"""How far gradients over scales can be trusted."""
