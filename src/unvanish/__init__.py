"""See where the gradient dies in a deep network, learn why, fix it, and prove that the fix worked."""
