"""The experiment file: its types, how it is read, its published schema."""
