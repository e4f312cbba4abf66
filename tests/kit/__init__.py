"""What the tests share: a throwaway server, catalog look-ups, checksums, the server's log."""
