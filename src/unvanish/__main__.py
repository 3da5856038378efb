"""`python -m unvanish` is the command line."""

from unvanish.cli.commands import main

if __name__ == "__main__":
    main()
