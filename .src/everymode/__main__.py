"""`python -m everymode`: the command line."""

from everymode.simulations.cli import main

if __name__ == "__main__":
    main()
