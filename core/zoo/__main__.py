"""`python -m zoo`: the command line, where the program `zoo` is not on the path."""

from zoo.cli import program

if __name__ == "__main__":
    program()
