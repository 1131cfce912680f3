"""Tables and predicates that papers share: one module a family of runs; frames in, frames out."""
