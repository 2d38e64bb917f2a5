"""`python -m trafficgen` is `traffic-gen`."""

from trafficgen.cli import main

if __name__ == "__main__":
    main()
