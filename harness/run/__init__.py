"""One run: prepare, baseline, fault, recover, rollback, settle. The run only records; judging comes after, from files."""
