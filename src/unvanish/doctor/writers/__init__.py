"""Where a watch's numbers go, step by step, under names such as `unvanish/backward_rms/encoder.0`."""
