"""One measuring system: quantities, the recorder with its backend on the autograd graph, the series that come out."""
