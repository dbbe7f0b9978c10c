"""What Fico writes to files and hands to programs: frozen dataclasses, standard library only."""
