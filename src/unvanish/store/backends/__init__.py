"""Where a store is kept: in a folder, in memory, or on a PostgreSQL server."""
