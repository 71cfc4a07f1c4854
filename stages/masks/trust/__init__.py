"""How far a finished mask can be trusted."""
