"""Methods that draw pictures from something else."""
