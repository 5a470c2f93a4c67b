"""Functions CompiledModel -> CompiledModel that keep the function computed and hide the circuit."""
