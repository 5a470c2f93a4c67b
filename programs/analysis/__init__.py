"""What there is to know of a program without compiling it."""
