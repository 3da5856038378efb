"""The data set: found, verified, memory-mapped; and the published order of its batches."""
