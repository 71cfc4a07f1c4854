"""The servers and who is let in: Prefect's API behind a guard, its database, the twins' files, passwords, addresses."""
