"""Whether every `.get` of a program selects what it has to: rules, and the facts they are built on."""
