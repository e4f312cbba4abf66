"""Where rows go to: postgres."""
