"""What only one paper has: the predicates of its claims, and what they alone need."""
