"""A package, or its conftest.py would take the place of tests/conftest.py; import as `from demo.serving import …`."""
