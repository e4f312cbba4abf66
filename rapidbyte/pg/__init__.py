"""PostgreSQL as both ends need it: the one door to psycopg, its errors translated, COPY, types, look-ups."""
