"""The expressions that programs are made of."""
