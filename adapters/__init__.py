"""Where the domain meets the world: PostgreSQL, files, other people's servers, the clock."""
