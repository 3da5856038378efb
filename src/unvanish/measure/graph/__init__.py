"""The graph backend: what autograd keeps of a forward pass, read as layers and measured."""
