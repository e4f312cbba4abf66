"""Reading PostgreSQL: source (who it is), describe (what it has), snapshot (one view of it), reader (one partition)."""

from rapidbyte.sources.postgres.source import PostgresSource

__all__ = ["PostgresSource"]
