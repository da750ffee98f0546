"""Files that are written from the code, so that they cannot drift from it.

`python -m generate` writes them, `python -m generate --check` fails if one differs. A generator is
a function without arguments that returns {path from the project's top: text}; name it in
`generate.__main__.GENERATORS`.
"""
