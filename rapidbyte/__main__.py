"""`python -m rapidbyte`."""

from rapidbyte.cli import main

if __name__ == "__main__":
    main()
