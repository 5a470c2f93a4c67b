"""The lowered program: attention and MLP operations over named variables, and what they mean."""
