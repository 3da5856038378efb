"""What a check may look at, beside the table: facts of the output, the targets, the parameters and the numbers."""
