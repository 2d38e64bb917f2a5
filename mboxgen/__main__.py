"""`python -m mboxgen` is `mboxgen`."""

from mboxgen.cli import main

if __name__ == "__main__":
    main()
