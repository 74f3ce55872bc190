"""``python -m xpnet`` is the command ``xpnet``."""

from .cli import main

if __name__ == "__main__":
    main(prog_name="xpnet")
