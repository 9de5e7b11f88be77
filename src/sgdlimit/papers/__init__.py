"""The papers of the field, each reproduced in a module of its own."""
