"""What every other room uses: the catalogue, paths, stubs, mistakes, outcomes, files, clock. Imports no other room."""
