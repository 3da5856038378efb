"""What one does to an `nn.Module`: find its blocks, replace parts on a copy, add a residual path, freeze."""
