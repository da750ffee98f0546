"""`python -m service.cli` is the command `tallystick`."""

from service.cli.program import main

main()
