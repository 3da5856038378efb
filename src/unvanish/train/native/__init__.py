"""What a C compiler, where there is one, does faster on a CPU than torch's operators: `kernels.c`."""
