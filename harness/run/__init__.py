"""One run, prepare to settle. The run only records; judging comes after, from its files."""
