"""Where rows come from: postgres; files; local, databases that are files. They do not know each other."""
