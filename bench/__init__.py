"""How fast fastnn is: pytest-benchmark suites, and a comparison with the peers. See README.md."""
